# Every image, once. `make images` fills in the variables; by hand: docker buildx bake -f docker/docker-bake.hcl onnx

# The bases: any image of the Debian release, by digest, and its name for people.
variable "DEBIAN_BOOKWORM" { default = "docker-image://debian:bookworm-slim" }
variable "BASE_BOOKWORM"   { default = "registry debian:bookworm-slim" }
variable "DEBIAN_BULLSEYE" { default = "docker-image://debian:bullseye-slim" }
variable "BASE_BULLSEYE"   { default = "registry debian:bullseye-slim" }

# The checkout: its commit, its address, and by target {"onnx": {"sources": "64 hex", "lock": "64 hex"}}.
variable "REVISION"   { default = "" }
variable "REPOSITORY" { default = "" }
variable "DIGESTS"    { default = "{}" }

# The network.
variable "EXTRA_CA"         { default = "" }
variable "WHEELHOUSE"       { default = "" }
variable "TORCH_INDEX"      { default = "" }
variable "PIP_INDEX_URL"    { default = "" }
variable "PIP_TRUSTED_HOST" { default = "" }
variable "APT_MIRROR"       { default = "" }
variable "HTTP_PROXY"       { default = "" }
variable "HTTPS_PROXY"      { default = "" }
variable "NO_PROXY"         { default = "" }
variable "http_proxy"       { default = "" }
variable "https_proxy"      { default = "" }
variable "no_proxy"         { default = "" }
variable "NETWORK"          { default = "" } # "host" where a proxy or a mirror listens on loopback only; for buildx 0.17 and newer

# What images clone: a mirror's address, or a folder with a clone, a mirror or bare files.
variable "SOURCE_TNN"           { default = "" }
variable "SOURCE_ONNX_TENSORRT" { default = "" }
variable "SOURCE_TORCH2TRT"     { default = "" }

# TensorRT 8.2: the image that has it, or any other with CUDA and a folder of the release.
variable "TRT_BASE"      { default = "nvcr.io/nvidia/tensorrt:22.04-py3" }
variable "TENSORRT_ROOT" { default = "" }

# null is what was not given: the Dockerfile's own default holds then.
function "given" {
  params = [value]
  result = notequal(value, "") ? value : null
}

function "first" {
  params = [one, other]
  result = notequal(one, "") ? one : given(other)
}

# SOURCE_<NAME>, of what a Dockerfile clones, is a folder or an address. With a variable of that name, a target has
#   contexts = folder("source-name", SOURCE_NAME)
#   args     = {SOURCE_NAME = url(SOURCE_NAME)}
# and its Dockerfile has FROM scratch AS source-name, ARG SOURCE_NAME=<the usual address>, and
#   RUN --mount=type=bind,from=source-name,target=/run/source --mount=type=secret,id=extra_ca \
#       fetch-source "$SOURCE_NAME" <commit> /src

# A folder becomes a named context, in the place of the empty stage of that name in the Dockerfile.
function "folder" {
  params = [name, value]
  result = {for key, path in {"${name}" = value}: key => path if notequal(path, "") && !is_url(path)}
}

# An address is cloned inside the build, where the certificate and the proxies are.
function "url" {
  params = [value]
  result = is_url(value) ? value : null
}

function "is_url" {
  params = [value]
  result = length(regexall("^([a-z][a-z+.-]*://|[^/]+@[^/]+:)", value)) > 0
}

# The name of an image, as a context.
function "image" {
  params = [value]
  result = is_url(value) ? value : "docker-image://${value}"
}

function "digest" {
  params = [target, kind]
  result = try(jsondecode(DIGESTS)[target][kind], "")
}

function "tag" {
  params = [target]
  result = ["modelfarm/${target}:${notequal(digest(target, "sources"), "") ? substr(digest(target, "sources"), 0, 16) : "latest"}"]
}

function "labels" {
  params = [target, title, base]
  result = {
    "org.opencontainers.image.title"     = "modelfarm ${target}: ${title}"
    "org.opencontainers.image.revision"  = REVISION
    "org.opencontainers.image.source"    = REPOSITORY
    "org.opencontainers.image.base.name" = regex_replace(base, "^[a-z]+ ", "")
    "modelfarm.target"                   = target
    "modelfarm.sources"                  = digest(target, "sources")
    "modelfarm.lock"                     = digest(target, "lock")
    "modelfarm.base"                     = base
  }
}

group "default" {
  targets = ["onnx", "tflite", "tflite-onnx2tf", "tflite2onnx", "tnn", "trt", "trt-onnx2trt", "trt-rtx", "trt-torch2trt", "trt10"]
}

target "_network" {
  network = given(NETWORK)
  secret  = notequal(EXTRA_CA, "") ? ["id=extra_ca,src=${EXTRA_CA}"] : []
  args = {
    APT_MIRROR       = given(APT_MIRROR)
    HTTP_PROXY       = first(HTTP_PROXY, http_proxy)
    HTTPS_PROXY      = first(HTTPS_PROXY, https_proxy)
    NO_PROXY         = first(NO_PROXY, no_proxy)
    TORCH_INDEX      = given(TORCH_INDEX)
    PIP_INDEX_URL    = given(PIP_INDEX_URL)
    PIP_TRUSTED_HOST = given(PIP_TRUSTED_HOST)
  }
}

# Docker's own driver keeps an image of each part too; without a name they would lie about as <none>.
target "_base" {
  inherits = ["_network"]
  context  = "docker/base"
}

target "base-bookworm" {
  inherits = ["_base"]
  target   = "runtime"
  contexts = {debian = DEBIAN_BOOKWORM}
  tags     = ["modelfarm/base:bookworm"]
}

target "build-bookworm" {
  inherits = ["base-bookworm"]
  target   = "build"
  tags     = ["modelfarm/base-build:bookworm"]
}

target "base-bullseye" {
  inherits = ["_base"]
  target   = "runtime"
  contexts = {debian = DEBIAN_BULLSEYE}
  tags     = ["modelfarm/base:bullseye"]
}

target "build-bullseye" {
  inherits = ["base-bullseye"]
  target   = "build"
  tags     = ["modelfarm/base-build:bullseye"]
}

target "_toolchain" {
  inherits = ["_network"]
  contexts = merge({jobkit = "docker/jobkit"}, folder("wheels", WHEELHOUSE))
}

target "_bookworm" {
  inherits = ["_toolchain"]
  contexts = {base = "target:base-bookworm", base-build = "target:build-bookworm"}
  args     = {BASE = BASE_BOOKWORM}
}

target "_bullseye" {
  inherits = ["_toolchain"]
  contexts = {base = "target:base-bullseye", base-build = "target:build-bullseye"}
  args     = {BASE = BASE_BULLSEYE}
}

target "onnx" {
  inherits = ["_bookworm"]
  context  = "docker/onnx"
  tags     = tag("onnx")
  labels   = labels("onnx", "ONNX Runtime", BASE_BOOKWORM)
}

target "tnn" {
  inherits = ["_bullseye"]
  context  = "docker/tnn"
  contexts = folder("tnn", SOURCE_TNN)
  args     = {SOURCE_TNN = url(SOURCE_TNN)}
  tags     = tag("tnn")
  labels   = labels("tnn", "TNN", BASE_BULLSEYE)
}

target "trt-rtx" {
  inherits = ["_bookworm"]
  context  = "docker/trt-rtx"
  contexts = {trt = "docker/trt"}
  tags     = tag("trt-rtx")
  labels   = labels("trt-rtx", "TensorRT-RTX", BASE_BOOKWORM)
}

target "trt" {
  inherits = ["_network"]
  context  = "docker/trt"
  contexts = merge({jobkit = "docker/jobkit", tools = "docker/base/bin", trt-base = image(TRT_BASE)},
                   folder("wheels", WHEELHOUSE), folder("tensorrt", TENSORRT_ROOT),
                   folder("source-onnx-tensorrt", SOURCE_ONNX_TENSORRT))
  args     = {BASE = TRT_BASE, SOURCE_ONNX_TENSORRT = url(SOURCE_ONNX_TENSORRT)}
  tags     = tag("trt")
  labels   = labels("trt", "TensorRT 8.2", TRT_BASE)
}

# Stages that the ways to TensorRT stand on; see _base for their names.
target "trt-compiler" {
  inherits = ["trt"]
  target   = "compiler"
  tags     = ["modelfarm/trt-compiler:latest"]
}

target "trt-onnx2trt" {
  inherits = ["_network"]
  context  = "docker/trt-onnx2trt"
  contexts = {jobkit = "docker/jobkit", trt-code = "docker/trt", trt = "target:trt", trt-compiler = "target:trt-compiler"}
  tags     = tag("trt-onnx2trt")
  labels   = labels("trt-onnx2trt", "TensorRT 8.2 by onnx2trt", TRT_BASE)
}

target "trt-pycuda" {
  inherits = ["trt"]
  target   = "pycuda"
  tags     = ["modelfarm/trt-pycuda:latest"]
}

target "trt-torch2trt" {
  inherits = ["_network"]
  context  = "docker/trt-torch2trt"
  contexts = merge({jobkit = "docker/jobkit", trt-code = "docker/trt", onnx-code = "docker/onnx", trt = "target:trt",
                    trt-compiler = "target:trt-compiler", trt-pycuda = "target:trt-pycuda"},
                   folder("wheels", WHEELHOUSE), folder("source-torch2trt", SOURCE_TORCH2TRT))
  args     = {SOURCE_TORCH2TRT = url(SOURCE_TORCH2TRT)}
  tags     = tag("trt-torch2trt")
  labels   = labels("trt-torch2trt", "TensorRT 8.2 by torch2trt", TRT_BASE)
}

target "trt10" {
  inherits = ["_bookworm"]
  context  = "docker/trt10"
  contexts = {trt = "docker/trt"}
  tags     = tag("trt10")
  labels   = labels("trt10", "TensorRT 10", BASE_BOOKWORM)
}

target "tflite2onnx" {
  inherits = ["_bookworm"]
  context  = "docker/tflite2onnx"
  contexts = {onnx = "docker/onnx", tflite = "docker/tflite"}
  tags     = tag("tflite2onnx")
  labels   = labels("tflite2onnx", "tf2onnx", BASE_BOOKWORM)
}

target "tflite" {
  inherits = ["_bookworm"]
  context  = "docker/tflite"
  tags     = tag("tflite")
  labels   = labels("tflite", "TensorFlow Lite", BASE_BOOKWORM)
}

target "tflite-onnx2tf" {
  inherits = ["_bookworm"]
  context  = "docker/tflite-onnx2tf"
  contexts = {tflite = "docker/tflite"}
  tags     = tag("tflite-onnx2tf")
  labels   = labels("tflite-onnx2tf", "TensorFlow Lite by onnx2tf", BASE_BOOKWORM)
}
