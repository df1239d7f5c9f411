#!/bin/sh
# Prints the Homebrew formula of a release: formula.sh VERSION RELEASES SHA256SUMS
#
# RELEASES is the address below which the folders of releases lie, SHA256SUMS the file of checksums of this one.
set -eu
[ $# -eq 3 ] || { echo "usage: formula.sh VERSION RELEASES SHA256SUMS" >&2; exit 2; }
version=$1 releases=$2 sums=$3

sum() {
    found=$(awk -v name="rescored-$version-$1.tar.gz" '$2 == name { print $1 }' "$sums")
    [ -n "$found" ] || { echo "formula.sh: $sums has no rescored-$version-$1.tar.gz" >&2; exit 1; }
    echo "$found"
}
mac=$(sum aarch64-apple-darwin)
arm=$(sum aarch64-unknown-linux-gnu)
intel=$(sum x86_64-unknown-linux-gnu)

cat <<FORMULA
class Rescored < Formula
  desc "Reranking server: scores query and document pairs with a cross-encoder"
  homepage "${releases%/releases/download}"
  version "$version"
  license "Apache-2.0"

  on_macos do
    depends_on arch: :arm64
    url "$releases/v$version/rescored-$version-aarch64-apple-darwin.tar.gz"
    sha256 "$mac"
  end

  on_linux do
    on_arm do
      url "$releases/v$version/rescored-$version-aarch64-unknown-linux-gnu.tar.gz"
      sha256 "$arm"
    end
    on_intel do
      url "$releases/v$version/rescored-$version-x86_64-unknown-linux-gnu.tar.gz"
      sha256 "$intel"
    end
  end

  # \`rescored fetch\` brings ONNX Runtime and the model by pip.
  depends_on "python@3.13"

  def install
    bin.install "rescored"
    man1.install Dir["man/*"]
    bash_completion.install "completions/rescored.bash" => "rescored"
    zsh_completion.install "completions/rescored.zsh" => "_rescored"
    fish_completion.install "completions/rescored.fish"
  end

  service do
    run [opt_bin/"rescored", "serve"]
    keep_alive crashed: true
    working_dir var/"rescored"
    environment_variables RESCORED_MODEL_DIR: var/"rescored/models"
  end

  test do
    assert_match version.to_s, shell_output("#{bin}/rescored --version")
  end
end
FORMULA
