#!/usr/bin/env bash
# Builds what a release consists of, into dist/ (or $OUT):
#
#   promptist-VERSION-TARGET.tar.gz      the program, licences, README, changelog, the model's card
#   promptist-VERSION-comfyui.tar.gz     a folder for ComfyUI's custom_nodes
#   promptist-VERSION-a1111.tar.gz       a folder for the webui's extensions
#   SHA256SUMS                           of all of them
#   RELEASE.md                           sizes, and how long the program takes to start, on this machine
#
#   rustup target add x86_64-unknown-linux-musl && apt-get install musl-tools
#   release/build.sh
#   TARGET=aarch64-unknown-linux-musl release/build.sh
#
# The program is linked statically against musl: it runs on any Linux of its architecture, in an empty container
# too. The same commit, toolchain and C compiler give the same archives, byte for byte.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${TARGET:-$(uname -m)-unknown-linux-musl}
out=${OUT:-dist}
runs=${RUNS:-21}

fail() { echo "error: $*" >&2; exit 1; }

version=$(sed -n '/^\[workspace.package\]/,/^\[/s/^version = "\(.*\)"/\1/p' Cargo.toml)
# Times inside the archives: the commit's.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
rustup target list --installed | grep -qx "$target" || fail "rustup target add $target"

# C parts (onig, ring) are compiled for musl too; Rust brings its own start files and libc to link with.
env_target=${target//-/_}
if [[ $target == *-musl && -z $(printenv "CC_$env_target" || true) ]]; then
    for cc in "${target%%-*}-linux-musl-gcc" musl-gcc; do
        [[ $cc == musl-gcc && ${target%%-*} != $(uname -m) ]] && continue
        command -v "$cc" > /dev/null && export "CC_$env_target=$cc" && break
    done
    [[ -n $(printenv "CC_$env_target" || true) ]] || fail "no C compiler for $target: install musl-tools, or set CC_$env_target"
fi

# No folder of this machine is in the binary.
home=${CARGO_HOME:-$HOME/.cargo}
flags="--remap-path-prefix=$home=/cargo --remap-path-prefix=$PWD=/promptist"
RUSTFLAGS="${RUSTFLAGS:-} $flags" cargo build --release --locked --package promptist-cli --target "$target"
program=${CARGO_TARGET_DIR:-target}/$target/release/promptist

# Static means that no other file is needed to run it.
if readelf --program-headers --dynamic "$program" | grep -E "INTERP|NEEDED"; then
    fail "$program is not static"
fi

mkdir -p "$out"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# pack NAME: the folder $work/NAME to an archive that depends on its contents only.
pack() {
    tar --create --directory "$work" --sort=name --owner=0 --group=0 --numeric-owner --mode=go+rX,u+rw,go-w \
        --mtime="@$SOURCE_DATE_EPOCH" --format=ustar "$1" | gzip --no-name --best > "$out/$1.tar.gz"
}

binary=promptist-$version-$target
mkdir "$work/$binary"
cp "$program" README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$work/$binary/"
cp models/mini/README.md "$work/$binary/MODEL-CARD.md"
pack "$binary"

python3 integrations/sync_client.py --check
for host in comfyui a1111; do
    name=promptist-$version-$host
    mkdir "$work/$name"
    git archive HEAD "integrations/$host" | tar --extract --directory "$work" --strip-components=0
    mv "$work/integrations/$host" "$work/$name/promptist"
    cp LICENSE-MIT LICENSE-APACHE "$work/$name/promptist/"
    pack "$name"
done

(cd "$out" && sha256sum promptist-"$version"-*.tar.gz > SHA256SUMS && sha256sum --check --quiet SHA256SUMS)

# median COMMAND...: milliseconds of the middle one of $runs runs.
median() {
    for _ in $(seq "$runs"); do
        start=$(date +%s%N)
        "$@" > /dev/null 2>&1
        echo $((($(date +%s%N) - start) / 10000))
    done | sort --numeric-sort | sed -n "$(((runs + 1) / 2))p" | sed 's/..$/.&/; s/^\./0./'
}

if [[ ${target%%-*} == $(uname -m) ]]; then
    # From the archive, as people get it.
    tar --extract --gzip --file "$out/$binary.tar.gz" --directory "$work" --transform 's/^/unpacked-/'
    program=$work/unpacked-$binary/promptist
    version_ms=$(median "$program" --version)
    adapt_ms=$(median "$program" adapt "a rabbit is wearing a space suit")
fi

{
    echo "| | |"
    echo "|---|---|"
    echo "| program | $(stat --format=%s "$work/$binary/promptist" | awk '{ printf "%.1f", $1 / 1e6 }') MB, static |"
    for file in "$out"/promptist-"$version"-*.tar.gz; do
        echo "| $(basename "$file") | $(stat --format=%s "$file" | awk '{ printf "%.2f", $1 / 1e6 }') MB |"
    done
    if [[ -n ${adapt_ms:-} ]]; then
        echo "| \`promptist --version\`, start to exit | $version_ms ms |"
        echo "| \`promptist adapt\`, start to exit | $adapt_ms ms |"
    fi
} | tee "$out/RELEASE.md"
