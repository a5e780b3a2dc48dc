# docker build -t tracer-lightning .
# docker run --rm -v "$PWD:/work" tracer-lightning train                          # the demo
# docker run --rm --gpus all --shm-size 8g -v "$PWD:/work" tracer-lightning train experiment=vitb16_wma data.root=...
#
# docker build --target test -t tracer-lightning-test . && docker run --rm tracer-lightning-test       # the tests
FROM python:3.11-slim AS source
COPY . /source
WORKDIR /source

FROM source AS test
RUN pip install --no-cache-dir -c constraints.txt -e ".[test]"
CMD ["pytest"]

FROM source AS wheel
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.11-slim
COPY constraints.txt /tmp/constraints.txt
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir -c /tmp/constraints.txt /wheels/*.whl
WORKDIR /work
ENTRYPOINT ["tracer"]
CMD ["--help"]
