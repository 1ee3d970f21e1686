# Packages for ci/engine and ci/clients, from the archive that this machine's apt knows. To be sourced.

say() { printf '%s: %s\n' "${0##*/}" "$*" >&2; }

fail() { # fail MESSAGE REMEDY
  printf '%s: %s\n  -> %s\n  (exit code 4: this machine lacks something that the job needs)\n' "${0##*/}" "$1" "$2" >&2
  exit 4
}

has() { type -P "$1" >/dev/null; }

# download FOLDER PACKAGE...: fetch packages without installing them. On Debian 12 they are those of Debian 13, which
# want no newer C library than it has: its own docker is 20.10, and it has no buildx.
download() {
  local folder=$1 release suite apt options
  shift
  release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  has apt-get || fail "there is no apt-get here to fetch $* with" "install docker with buildx, and docker-registry"
  suite=${release/#bookworm/trixie}
  apt=$(mktemp -d)
  options=(-qq -o "Dir::Etc::sourceparts=$apt/sources" -o Dir::Etc::sourcelist=/dev/null -o APT::Sandbox::User=root
           -o "Dir::State::lists=$apt/lists" -o "Dir::Cache=$apt/cache")
  mkdir -p "$apt"/{sources,lists/partial,cache/archives/partial} "$folder"
  sources "$release" | while read -r file; do
    sed -E "s,(^|\s)$release\b,\1$suite,g" "$file" >"$apt/sources/${file##*/}"
  done
  say "downloading $* ($suite)"
  (cd "$folder" && apt-get "${options[@]}" update && apt-get "${options[@]}" download "$@") >&2 ||
    fail "apt cannot fetch $*" "its own words are above; it needs an archive with $suite in reach"
  rm -rf "$apt"
}

sources() { # sources RELEASE: print the files of apt's configuration that name it
  apt-get indextargets --format '$(RELEASE) $(SOURCESENTRY)' 'Created-By: Packages' |
    sed -nE "s,^$1 (.*):[0-9]+\$,\1,p" | sort -u
}

# install NAME|FILE...: install packages; the services that they bring do not start.
install() {
  local policy=/usr/sbin/policy-rc.d log
  log=$(mktemp)
  say "installing ${*##*/}"
  (
    if [ ! -e $policy ]; then
      trap 'rm -f $policy' EXIT
      printf '#!/bin/sh\nexit 101\n' >$policy
      chmod +x $policy
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq -o DPkg::Lock::Timeout=120 install -y --no-remove --no-install-recommends "$@"
  ) >"$log" 2>&1 || { tail -n 20 "$log" >&2; fail "apt cannot install ${*##*/}" "its own words are above"; }
  rm -f "$log"
}
