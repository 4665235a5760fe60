#!/usr/bin/env bash
# A Debian package of omni, with an environment of its own in /opt/omni:
#   tools/packaging/debian.sh dist/omni_fleet-VERSION-py3-none-any.whl
# It is for the release of Debian that it is made on: the environment uses that one's Python.
# Made, installed, run and removed by dpkg on Debian 12; tried nowhere else. It is not of Debian's
# own policy, which wants each library as a package.
set -euo pipefail
wheel=$(realpath "$1")
here=$(realpath "$(dirname "$0")/../..")
version=$(basename "$wheel" | cut -d- -f2)
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root"
home="$root/opt/omni"
/usr/bin/python3 -m venv "$home"
"$home/bin/python" -m pip --disable-pip-version-check --quiet install \
  --constraint "$here/constraints.txt" "$wheel"
"$home/bin/python" -m pip --quiet uninstall --yes pip setuptools
# Scripts name the folder that they were made in.
grep -rlI "$home" "$home/bin" "$home/pyvenv.cfg" | xargs sed -i "s#$home#/opt/omni#g"
find "$home" -name __pycache__ -prune -exec rm -rf {} +
mkdir -p "$root/usr/bin" "$root/DEBIAN" "$root/usr/share/man/man1"
ln -s /opt/omni/bin/omni "$root/usr/bin/omni"
gzip -9 -n <"$home/share/man/man1/omni.1" >"$root/usr/share/man/man1/omni.1.gz"
for kind in bash-completion/completions zsh/vendor-completions fish/vendor_completions.d; do
  mkdir -p "$root/usr/share/$kind"
done
cp "$home/share/bash-completion/completions/omni" "$root/usr/share/bash-completion/completions/"
cp "$home/share/zsh/site-functions/_omni" "$root/usr/share/zsh/vendor-completions/"
cp "$home/share/fish/vendor_completions.d/omni.fish" "$root/usr/share/fish/vendor_completions.d/"
python=$(/usr/bin/python3 -c 'import sys; print("%d.%d" % sys.version_info[:2])')
cat >"$root/DEBIAN/control" <<END
Package: omni-fleet
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: The omni authors <nobody@localhost>
Depends: python3 (>= $python), python3 (<< ${python%.*}.$((${python#*.} + 1)))
Section: utils
Priority: optional
Description: fleet management for AI models, in the terminal
 See, route, budget and account calls of AI models at many providers.
END
cat >"$root/DEBIAN/postinst" <<'END'
#!/bin/sh
set -e
/opt/omni/bin/python -m compileall -q /opt/omni/lib >/dev/null || true
END
cat >"$root/DEBIAN/prerm" <<'END'
#!/bin/sh
set -e
find /opt/omni -name __pycache__ -prune -exec rm -rf {} +
END
chmod 755 "$root/DEBIAN/postinst" "$root/DEBIAN/prerm"
dpkg-deb --root-owner-group --build "$root" "$(dirname "$wheel")"
