# CPU:  docker build -t lstm-jax .
# CUDA: docker build -t lstm-jax --build-arg EXTRA=cuda13 .   and run with --gpus all
#
# The textbook example, and a text of your own; its folder has the runs afterwards:
#   docker run --rm lstm-jax
#   docker run --rm -v "$PWD":/work lstm-jax lstm_jax.train --data my.txt --run-dir runs/my
#   docker run --rm -v "$PWD":/work lstm-jax experiments.forecast --data my.csv
# The container's user has number 1000. If yours has another, build with
# --build-arg USER_ID="$(id -u)", or what is made in /work can't be written.
FROM python:3.12-slim

ARG EXTRA=""
ARG USER_ID=1000
ENV PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

# g++ makes the CPU's kernel.
RUN apt-get update && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid "$USER_ID" lstm \
    && mkdir /work && chown lstm /work

WORKDIR /opt/lstm_jax
COPY pyproject.toml hatch_build.py requirements.lock README.md LICENSE ./
COPY lstm_jax lstm_jax
RUN pip install --no-cache-dir -c requirements.lock ".${EXTRA:+[$EXTRA]}" \
    && rm -r lstm_jax
COPY experiments experiments
ENV PYTHONPATH=/opt/lstm_jax

USER lstm
# Compiled for the processor that builds; anew where it runs on another.
RUN python -c "from lstm_jax.engines.native.build import why_not_built as why; print(why())"
WORKDIR /work
VOLUME /work
ENTRYPOINT ["python", "-m"]
CMD ["lstm_jax.train"]
