#!/bin/sh
# Installs the original dalle-pytorch and taming-transformers into an environment of their own,
# beside the normal one, which lends it torch and t2icli. `make reference` calls this from the repository's root.
set -eu

normal=${1:-.venv}
reference=${2:-.venv-reference}
here=$(dirname "$0")
site='import sysconfig; print(sysconfig.get_path("purelib"))'

"${PYTHON:-$normal/bin/python}" -m venv "$reference"
python=$reference/bin/python
packages=$("$python" -c "$site")
echo "import site; site.addsitedir('$("$normal/bin/python" -c "$site")')" > "$packages/normal.pth"

install() { "$python" -m pip install --quiet --disable-pip-version-check "$@"; }

# pkg_resources, which they import, left setuptools with release 81 (requirements.txt keeps it, too).
install 'setuptools<81' wheel 'Cython<3.1'
# Its setup.py imports Cython without asking for it.
install --no-build-isolation youtokentome
install -r "$here/requirements.txt"
# taming-transformers imports a module that Lightning 2 has moved.
moved=$("$python" -c 'import importlib.util as u; print(u.find_spec("pytorch_lightning").submodule_search_locations[0])')
echo 'from pytorch_lightning.utilities.rank_zero import rank_zero_only  # noqa: F401' > "$moved/utilities/distributed.py"

install --no-deps -e "$here"
"$python" -W ignore -c 'import dalle_pytorch, taming.models.vqgan; print("dalle-pytorch", dalle_pytorch.__version__, "is ready")'
