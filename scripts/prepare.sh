# Finds the programs that ./quickstart and ./test need, and installs the ones that are missing.
# Sourced by both, with the repository as the working directory.

say() { printf '\033[1m%s\033[0m\n' "$*" >&2; }

fail() {
  printf '\033[1;31m%s\033[0m\n' "$1" >&2
  shift
  [ $# -eq 0 ] || printf '  %s\n' "$@" >&2
  exit 1
}

# As root, else by sudo when it can ask or need not ask.
as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null && { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
    sudo "$@"
  else
    return 1
  fi
}

# install_package WHAT APT-PACKAGE FEDORA-PACKAGE ARCH-PACKAGE ALPINE-PACKAGE BREW-PACKAGE
# Only apt is driven: elsewhere the sentence says what to type.
install_package() {
  local what=$1 apt=$2 command
  if command -v apt-get >/dev/null; then
    say "Installing $apt ($what)"
    # shellcheck disable=SC2086 # several packages in one word
    if apt_update_once && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends -qq $apt </dev/null >&2; then
      return
    fi
    fail "$what is missing and could not be installed." "Install it yourself:  sudo apt-get install $apt"
  fi
  if command -v dnf >/dev/null; then command="sudo dnf install $3"
  elif command -v pacman >/dev/null; then command="sudo pacman -S $4"
  elif command -v apk >/dev/null; then command="sudo apk add $5"
  elif command -v brew >/dev/null; then command="brew install $6"
  else command="install $apt with the package manager of this system"
  fi
  fail "$what is missing." "Install it and start again:  $command"
}

apt_updated=
apt_update_once() {
  [ -z "$apt_updated" ] || return 0
  apt_updated=1
  as_root apt-get update -qq </dev/null >&2
}

need_compiler() {
  command -v cc >/dev/null && [ -e /usr/include/stdlib.h -o "$(uname)" = Darwin ] && return
  install_package "a C compiler" "build-essential" "gcc glibc-devel" "base-devel" "build-base" "gcc"
}

need_rust() {
  if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then
    PATH=$HOME/.cargo/bin:$PATH
  fi
  local wanted found
  wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
  found=$(cargo --version 2>/dev/null | cut -d' ' -f2) || found=
  if [ -z "$found" ] || [ "$(printf '%s\n' "$wanted" "$found" | sort -V | head -n 1)" != "$wanted" ]; then
    fail "rowcast needs Rust $wanted or newer; this machine has ${found:-none}." \
      "Get it from https://rustup.rs, and start again in a new terminal:" \
      "curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh"
  fi
}

# The same places that the program looks in.
has_postgresql_server() {
  local folder
  for folder in /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin; do
    [ -x "$folder/initdb" ] && return
  done
  command -v initdb >/dev/null && command -v postgres >/dev/null
}

need_postgresql_server() {
  has_postgresql_server && return
  if command -v apt-get >/dev/null; then
    say "Debian and Ubuntu start a server of their own with this package; it is not the one that is used here."
  fi
  install_package "the PostgreSQL server" "postgresql" "postgresql-server" "postgresql" "postgresql" "postgresql@18"
}

need_psql() {
  command -v psql >/dev/null && return
  install_package "psql" "postgresql-client" "postgresql" "postgresql" "postgresql-client" "libpq"
}

need_pgbouncer() {
  command -v pgbouncer >/dev/null && return
  install_package "PgBouncer" "pgbouncer" "pgbouncer" "pgbouncer" "pgbouncer" "pgbouncer"
}

# Judges the unit files; the program that tests them says so where it is missing.
need_systemd_analyze() {
  [ "$(uname)" = Linux ] || return 0
  command -v systemd-analyze >/dev/null && return
  install_package "systemd-analyze" "systemd" "systemd" "systemd" "systemd" "systemd"
}

need_dpkg() {
  command -v dpkg-deb >/dev/null && return
  install_package "dpkg" "dpkg" "dpkg" "dpkg" "dpkg" "dpkg"
}

# Prints the browser's path; ROWCAST_CHROMIUM names another one.
find_browser() {
  local name
  for name in ${ROWCAST_CHROMIUM:-} chromium google-chrome google-chrome-stable chromium-browser; do
    command -v "$name" && return
  done
  return 1
}

need_browser() {
  find_browser >/dev/null && return
  if grep -qs '^ID=ubuntu' /etc/os-release; then
    fail "Chromium is missing, and Ubuntu has it as a snap only." \
      "sudo snap install chromium" \
      "or install Google Chrome; ROWCAST_CHROMIUM names a browser elsewhere; ./test --fast goes without"
  fi
  install_package "Chromium" "chromium" "chromium" "chromium" "chromium" "--cask chromium"
}

need_npm() {
  command -v npm >/dev/null && return
  install_package "npm" "nodejs npm" "nodejs-npm" "npm" "npm" "node"
}

# What only tests need is fetched into this folder, where they look for it, and not installed.
tools() { echo "${CARGO_TARGET_DIR:-target}/tools"; }

# fetch_programs APT-PACKAGE PATH…: takes programs out of a package without installing it, which would start a server.
fetch_programs() {
  local package=$1 folder path name missing=
  shift
  for path in "$@"; do
    name=${path##*/}
    command -v "$name" >/dev/null || [ -x "/usr/sbin/$name" ] || [ -x "$(tools)/bin/$name" ] || missing=1
  done
  [ -n "$missing" ] || return 0
  folder=$(mktemp -d) || exit 1
  unpack_package "$package" "$folder" && mkdir -p "$(tools)/bin" &&
    for path in "$@"; do cp "$folder$path" "$(tools)/bin/"; done
  rm -rf "$folder"
  [ -x "$(tools)/bin/${1##*/}" ] ||
    fail "$package is missing and could not be fetched." "Install it yourself:  sudo apt-get install $package"
}

# unpack_package APT-PACKAGE FOLDER: its files below the folder, with nothing installed.
unpack_package() {
  local package=$1 into=$2 download status=0
  if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    fail "$package is missing." "Install it with the package manager of this system, and start again."
  fi
  say "Fetching $package"
  download=$(mktemp -d) || exit 1
  { (cd "$download" && apt-get download -qq "$package" >&2) ||
      { apt_update_once && (cd "$download" && apt-get download -qq "$package" >&2); }; } &&
    dpkg-deb -x "$download"/*.deb "$into" || status=1
  rm -rf "$download"
  return $status
}

need_nginx() { fetch_programs nginx /usr/sbin/nginx; }

need_caddy() { fetch_programs caddy /usr/bin/caddy; }

need_prometheus() { fetch_programs prometheus /usr/bin/promtool /usr/bin/prometheus; }

need_openssl() {
  command -v openssl >/dev/null && return
  install_package "openssl" "openssl" "openssl" "openssl" "openssl" "openssl"
}

# With a WebSocket of its own: since 22, and in 20 behind a switch.
has_websocket() {
  local switch
  for switch in --no-warnings --experimental-websocket; do
    [ "$("$1" "$switch" -p 'typeof WebSocket' 2>/dev/null)" = function ] && return
  done
  return 1
}

need_node() {
  has_websocket node || has_websocket "$(tools)/bin/node" && return
  need_npm
  say "Fetching Node 22"
  npm install --silent --no-save --prefix "$(tools)/node" node@22 >&2 && mkdir -p "$(tools)/bin" &&
    ln -sf ../node/node_modules/node/bin/node "$(tools)/bin/node"
  has_websocket "$(tools)/bin/node" ||
    fail "Node 22 or newer is missing and could not be fetched." "Install it yourself: https://nodejs.org"
}

need_python_websockets() {
  local python
  python=$(tools)/python/bin/python
  "$python" -c 'import websockets.asyncio.client' 2>/dev/null && return
  command -v python3 >/dev/null && python3 -c 'import ensurepip' 2>/dev/null ||
    install_package "Python with venv" "python3 python3-venv" "python3" "python" "python3" "python"
  say "Fetching websockets for Python"
  python3 -m venv "$(tools)/python" >&2 && "$python" -m pip install --quiet 'websockets>=14,<18' >&2
  "$python" -c 'import websockets.asyncio.client' 2>/dev/null ||
    fail "websockets for Python could not be fetched." "Make it yourself:  python3 -m venv $(tools)/python && $python -m pip install websockets"
}
