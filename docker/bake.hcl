# docker buildx bake -f docker/bake.hcl          builds the images for both platforms
# docker buildx bake -f docker/bake.hcl cuda     builds the one for NVIDIA

variable "TAG" {
  default = "rescored:latest"
}

variable "MODEL" {
  default = "ms-marco-MiniLM-L-12-v2"
}

# Of one platform, where platforms are built apart and joined (.github/workflows/images.yml).
variable "SUFFIX" {
  default = ""
}

group "default" {
  targets = ["cpu"]
}

target "cpu" {
  dockerfile = "docker/Dockerfile"
  target     = "cpu"
  tags       = ["${TAG}${SUFFIX}"]
  args       = { MODEL = MODEL }
  platforms  = ["linux/amd64", "linux/arm64"]
}

target "bare" {
  inherits = ["cpu"]
  target   = "bare"
  tags     = ["${TAG}-bare${SUFFIX}"]
}

target "fetch" {
  inherits = ["cpu"]
  target   = "fetch"
  tags     = ["${TAG}-fetch${SUFFIX}"]
}

target "cuda" {
  inherits  = ["cpu"]
  target    = "cuda"
  tags      = ["${TAG}-cuda${SUFFIX}"]
  args      = { MODEL = MODEL, PROVIDER = "cuda" }
  platforms = ["linux/amd64"]
}
