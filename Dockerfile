# syntax=docker/dockerfile:1
# The book as a container: the server by default, any command of `scratchbook` otherwise.
#
#   docker build -t scratchbook .                              for a CPU
#   docker build -t scratchbook:gpu --build-arg DEVICE=gpu .   for NVIDIA GPUs (the host needs its container toolkit)
#
# Two stages: the first has compilers and caches, the second only what runs. The packages are those of pyproject.toml
# at the versions of constraints.txt, and stand before our own files, so that a changed line builds no package again.

FROM python:3.11-slim-bookworm AS build

ARG DEVICE=cpu
ARG EXTRAS=data,hf,chat,serve
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

WORKDIR /opt/book
COPY pyproject.toml constraints.txt README.md LICENSE ./
# PyPI's torch for Linux brings CUDA with it, gigabytes that a CPU has no use for; PyTorch's own index has one without.
RUN if [ "$DEVICE" = cpu ]; then \
      pip install --index-url https://download.pytorch.org/whl/cpu -c constraints.txt torch; \
    elif [ "$DEVICE" = gpu ]; then \
      pip install -c constraints.txt torch; \
    else \
      echo "DEVICE is $DEVICE: choose cpu or gpu" >&2; exit 2; \
    fi
RUN python -c "import tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*p['dependencies'], *(r for e in '$EXTRAS'.split(',') for r in p['optional-dependencies'][e]), sep='\n')" > requirements.txt \
 && pip install -c constraints.txt -r requirements.txt

COPY . .
RUN pip install --no-deps .


FROM python:3.11-slim-bookworm

# Numbers, because an orchestrator that asks for a non-root user can only check numbers.
RUN groupadd --gid 10001 reader \
 && useradd --uid 10001 --gid reader --create-home reader \
 && install -d -o reader -g reader /work /work/runs /work/data

COPY --from=build /opt/venv /opt/venv
# Chainlit writes beside its settings, and the code is not the reader's to change: two folders are.
RUN install -d -o reader -g reader \
      /opt/venv/lib/python3.11/site-packages/chat_ui/.files \
      /opt/venv/lib/python3.11/site-packages/chat_ui/.chainlit/translations
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SCRATCHBOOK_RUNS=/work/runs \
    SCRATCHBOOK_DATA=/work/data \
    GOMP_SPINCOUNT=2000

USER 10001:10001
WORKDIR /work
VOLUME ["/work/runs", "/work/data"]
EXPOSE 8000

HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health', timeout=4).read()"]

# Exec form: the process itself gets SIGTERM, finishes its step and saves.
STOPSIGNAL SIGTERM
ENTRYPOINT ["scratchbook"]
# Refuses to start without SCRATCHBOOK_PASSWORD: 0.0.0.0 is everyone who reaches the container.
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
