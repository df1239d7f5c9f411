# docker buildx bake -f docker/bake.hcl          builds the images for both platforms
# docker buildx bake -f docker/bake.hcl cuda     builds the one for NVIDIA

variable "TAG" {
  default = "rescored:latest"
}

variable "MODEL" {
  default = "ms-marco-MiniLM-L-12-v2"
}

group "default" {
  targets = ["cpu"]
}

target "cpu" {
  dockerfile = "docker/Dockerfile"
  target     = "cpu"
  tags       = ["${TAG}"]
  args       = { MODEL = MODEL }
  platforms  = ["linux/amd64", "linux/arm64"]
}

target "bare" {
  inherits = ["cpu"]
  target   = "bare"
  tags     = ["${TAG}-bare"]
}

target "cuda" {
  inherits  = ["cpu"]
  target    = "cuda"
  tags      = ["${TAG}-cuda"]
  args      = { MODEL = MODEL, PROVIDER = "cuda" }
  platforms = ["linux/amd64"]
}
