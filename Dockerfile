# CPU:  docker build -t lstm-jax . && docker run lstm-jax
# CUDA: docker build -t lstm-jax --build-arg EXTRA=cuda13 . && docker run --gpus all lstm-jax
FROM python:3.12-slim

ARG EXTRA=""
ENV PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

WORKDIR /app
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY lstm_jax lstm_jax
COPY experiments experiments
RUN pip install --no-cache-dir -c requirements.lock ".${EXTRA:+[$EXTRA]}"
# The CPU's kernel is compiled here, and once more where the processor is another.
RUN apt-get update && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/* \
    && python -c "from lstm_jax.engines.native.build import why_not_built as why; print(why())"

CMD ["python", "-m", "lstm_jax.train"]
