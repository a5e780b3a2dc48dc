# docker build -t tracer-lightning .
# docker run --rm -v "$PWD:/work" tracer-lightning train                          # the demo
# docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" tracer-lightning train experiment=vitb16_wma data.root=...
FROM python:3.11-slim AS build
COPY . /source
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /source

FROM python:3.11-slim
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir -c /tmp/constraints.txt /wheels/*.whl
WORKDIR /work
ENTRYPOINT ["tracer"]
CMD ["--help"]
