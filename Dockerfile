# The container image. docs/releasing.md says how it is released, and how to check a release.
#
# The build and runtime stages share a base, so the environment of one runs in the other. Releases pin it by digest.
ARG BASE=docker.io/library/python:3.13-slim-trixie


# The installers, and an empty environment without pip.
FROM ${BASE} AS tools
WORKDIR /build
COPY requirements-build.txt ./
RUN python3 -m venv --without-pip /opt/mojaloop-image-patch-exporter \
 && python3 -m venv /opt/tools \
 && /opt/tools/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --only-binary :all: --requirement requirements-build.txt


# Dependencies before code, because they rarely change. Wheels only, because there is no compiler.
#
# Most of their files are never imported. The Kubernetes package has two clients, each with a class for every kind and API, and
# exporter/lean.py imports only the transport and the configuration of one. pydantic includes its previous version. rich highlights
# source code and Markdown, but we only print tables. If a new version lacks a path that is removed here, the build fails.
# tests/test_container_image.py runs all imports of our code in the image.
#
# Bytecode is compiled here, because the root file system is read-only at runtime. It does not depend on file times, which copies may
# change.
FROM tools AS dependencies
COPY requirements.txt ./
RUN /opt/tools/bin/python -m pip --python /opt/mojaloop-image-patch-exporter/bin/python install --no-cache-dir --disable-pip-version-check \
      --no-compile --require-hashes --only-binary :all: --requirement requirements.txt \
 && cd /opt/mojaloop-image-patch-exporter/lib/python3.*/site-packages \
 && (cd kubernetes && rm -r client config dynamic informer leaderelection stream utils watch \
      aio/client/api aio/client/models/[a-z]*.py aio/dynamic aio/leaderelection aio/stream aio/watch) \
 && rm -r pydantic/v1 \
 && /opt/tools/bin/python -m pip --python /opt/mojaloop-image-patch-exporter/bin/python uninstall --yes --quiet \
      charset-normalizer markdown-it-py mdurl oauthlib pygments requests requests-oauthlib urllib3 websocket-client \
 && python3 -m compileall -q --invalidation-mode unchecked-hash /opt/mojaloop-image-patch-exporter/lib


# Our own package, in /code with the layout of /. Nothing is downloaded, because the build tools are installed above, with hashes.
# The package has symbolic links to the rules and dashboards, which become files in the wheel.
FROM tools AS code
COPY pyproject.toml README.md LICENSE ./
COPY alerts alerts
COPY grafana grafana
COPY exporter exporter
RUN /opt/tools/bin/python -m pip wheel --no-cache-dir --disable-pip-version-check --no-index --no-deps --no-build-isolation --wheel-dir /wheel . \
 && /opt/tools/bin/python -m pip --python /opt/mojaloop-image-patch-exporter/bin/python install --no-cache-dir --disable-pip-version-check \
      --no-compile --no-index --no-deps --root /code /wheel/*.whl \
 && python3 -m compileall -q --invalidation-mode unchecked-hash -s /code -p / /code/opt/mojaloop-image-patch-exporter/lib
# The label must match the version of the code.
ARG VERSION=unreleased
RUN test "${VERSION}" = unreleased || grep --line-regexp "__version__ = \"${VERSION}\"" exporter/__init__.py


FROM ${BASE}
# Nothing in the image installs software. Python's own images have pip. If pip belongs to the system (Debian's package), it cannot be
# removed, and the build fails.
RUN if python3 -m pip --version; then python3 -m pip uninstall --yes pip; fi \
 && rm -rf "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')/ensurepip" \
 && python3 -c 'import importlib.util as i, sys; sys.exit("the base image keeps its pip" if i.find_spec("pip") else None)' \
 && install --directory --owner=65532 --group=65532 --mode=0700 /var/lib/mojaloop-image-patch-exporter
COPY --from=dependencies /opt/mojaloop-image-patch-exporter /opt/mojaloop-image-patch-exporter
COPY --from=code /code/ /

# A number, so Kubernetes can verify that it is not root (`runAsNonRoot`).
USER 65532:65532
ENV IMAGE_PATCH_STATE_DIR=/var/lib/mojaloop-image-patch-exporter
EXPOSE 9877
# No HEALTHCHECK: Kubernetes ignores it and probes /-/healthy and /-/ready instead; examples/compose has its own.
ENTRYPOINT ["/opt/mojaloop-image-patch-exporter/bin/mojaloop-image-patch-exporter"]
CMD ["serve"]

# Last, because they change with every build.
ARG BASE
ARG VERSION=unreleased
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="mojaloop-image-patch-exporter" \
      org.opencontainers.image.description="Exports which containers of a Mojaloop hub miss a patch release of their image" \
      org.opencontainers.image.source="https://github.com/mojaloop/mojaloop-image-patch-exporter" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.base.name="${BASE}" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
