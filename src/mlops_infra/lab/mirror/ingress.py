"""The ingress controller's image where upstream's cannot be had: the real controller over Debian's nginx.

The controller, its Lua and its template are upstream's, from its Go module; nginx, its Lua module and the libraries are
Debian's. Upstream's image compiles an OpenResty of its own: Lua libraries that Debian does not have are stand-ins
(`stand_ins/lua`), and there is no Lua in the stream part, so no `tcp-services` and `udp-services`.
"""

from __future__ import annotations

import os
import shutil
import stat
import tarfile
from collections.abc import Iterator
from importlib.resources import as_file, files
from pathlib import Path

from mlops_infra.lab.mirror.cache import Cache, Recipe, sha256_file
from mlops_infra.lab.mirror.components import INGRESS_MODULE
from mlops_infra.lab.mirror.debian import ingress_packages
from mlops_infra.lab.mirror.golang import Toolchain
from mlops_infra.lab.mirror.oci import Image, layer_of_tar
from mlops_infra.lab.mirror.programs import run
from mlops_infra.lab.mirror.progress import MirrorError, Say

__all__ = ["adapted_template", "ingress_image", "pack"]

USER = 101
"""Upstream's image runs as this user, and the manifest says so."""
_GROUP = 82
_OWNED = ("etc/nginx", "etc/ingress-controller", "var/log/nginx", "var/lib/nginx", "tmp/nginx")
_MADE = (
    "etc/ingress-controller/ssl", "etc/ingress-controller/auth", "etc/ingress-controller/geoip",
    "etc/ingress-controller/telemetry", "var/log/nginx", "var/lib/nginx", "tmp/nginx", "run", "dev", "proc", "sys",
)  # fmt: skip
_MAY_BIND = ("nginx-ingress-controller", "usr/sbin/nginx", "usr/bin/dumb-init")
# struct vfs_cap_data, revision 2, effective: CAP_NET_BIND_SERVICE (10) permitted.
_BIND_CAPABILITY = bytes((1, 0, 0, 2, 0, 1 << 2, 0, 0, *(0,) * 12)).decode()
_ACCOUNTS = {
    "etc/passwd": f"root:x:0:0::/:/bin/sh\nwww-data:x:{USER}:{_GROUP}::/:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n",
    "etc/group": f"root:x:0:\nwww-data:x:{_GROUP}:\nnogroup:x:65534:\n",
}
_MODULES = ("ndk_http_module", "ngx_http_lua_module", "ngx_http_headers_more_filter_module", "ngx_stream_module")
_STREAM = """# This nginx has no Lua in its stream part: only a listener that takes the controller's (empty) list of TCP
# and UDP services, without which its every reconfiguration would count as failed. ssl_preread: read, then close.
stream {
    access_log off;
    error_log {{ $cfg.ErrorLogPath }} {{ $cfg.ErrorLogLevel }};
    server {
        listen 127.0.0.1:{{ .StreamPort }};
        ssl_preread on;
        preread_timeout 2s;
        return "";
    }
}
"""


def ingress_image(
    reference: str, programs: Path, busybox: Path, *, toolchain: Toolchain, cache: Cache, say: Say
) -> Image:
    """The image under its upstream name. `programs` holds the controller and its helpers."""
    scratch = cache.root / ".modules"
    scratch.mkdir(parents=True, exist_ok=True)
    upstream = toolchain.module(*INGRESS_MODULE, scratch) / "rootfs" / "etc" / "nginx"
    debs = ingress_packages(cache, say)
    with as_file(files("mlops_infra.lab.mirror.stand_ins").joinpath("lua")) as lua:
        inputs = [*debs.glob("*.deb"), *programs.iterdir(), *lua.iterdir(), Path(__file__), busybox]
        recipe: Recipe = {
            "kind": "ingress-root",
            "inputs": {path.name: sha256_file(path) for path in sorted(inputs) if path.is_file()},
            "module": list(INGRESS_MODULE),
        }

        def make(into: Path) -> None:
            say("root of the ingress controller's image, from Debian's nginx")
            root = into / "root"
            _unpack(debs, root)
            _add_controller(root, programs, upstream, lua)
            _add_shell(root, busybox)
            pack(root, into / "layer.tar")
            shutil.rmtree(root)

        home = cache.product("ingress-root", recipe, make)
    layer = layer_of_tar(home / "layer.tar", cache, "ingress")
    return Image(reference, (layer,), ("/usr/bin/dumb-init", "--"), user=str(USER))


def adapted_template(template: str) -> str:
    """Upstream's nginx.tmpl for an nginx whose modules are loaded, and whose stream part has no Lua.

    Raises MirrorError when the template is not what it was.
    """
    pid, stream = "pid {{ .PID }};\n", template.find("\nstream {\n")
    end = template.find("\n}\n", stream)
    if template.count(pid) != 1 or stream < 0 or end < 0 or "tcp_udp_balancer" in template[:stream] + template[end:]:
        raise MirrorError("the ingress controller's nginx.tmpl is not what it was")
    loaded = "".join(f"load_module /usr/lib/nginx/modules/{name}.so;\n" for name in _MODULES)
    return (template[: stream + 1] + _STREAM + template[end + 3 :]).replace(pid, pid + loaded)


def _unpack(debs: Path, root: Path) -> None:
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True, exist_ok=True)
        (root / name).symlink_to(f"usr/{name}")
    for deb in sorted(debs.glob("*.deb")):
        run(["dpkg-deb", "-x", deb, root], what=f"unpack {deb.name}")
    bundle = root / "etc" / "ssl" / "certs" / "ca-certificates.crt"
    bundle.parent.mkdir(parents=True, exist_ok=True)
    bundle.write_bytes(
        b"".join(one.read_bytes() for one in sorted((root / "usr/share/ca-certificates").rglob("*.crt")))
    )
    for name in ("doc", "man", "locale", "info", "lintian", "bug", "ca-certificates"):
        shutil.rmtree(root / "usr" / "share" / name, ignore_errors=True)


def _add_controller(root: Path, programs: Path, upstream: Path, lua: Path) -> None:
    nginx = root / "etc" / "nginx"
    for name in ("sites-enabled", "sites-available", "modules-enabled", "conf.d"):
        shutil.rmtree(nginx / name, ignore_errors=True)
    shutil.copytree(upstream, nginx, dirs_exist_ok=True, ignore=shutil.ignore_patterns("test"), copy_function=_copy)
    for stand_in in lua.glob("*.lua"):
        target = nginx / "lua" / (stand_in.stem.replace(".", "/") + ".lua")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(stand_in, target)
    template = nginx / "template" / "nginx.tmpl"
    template.write_text(adapted_template(template.read_text()))
    (nginx / "modules").symlink_to("/usr/lib/nginx/modules")
    for name in ("nginx-ingress-controller", "wait-shutdown", "dbg"):
        shutil.copyfile(programs / name, root / name)
        (root / name).chmod(0o755)
    for name in _MADE:
        (root / name).mkdir(parents=True, exist_ok=True)
    for path, text in _ACCOUNTS.items():
        (root / path).write_text(text)
    for name, stream in (("access.log", "stdout"), ("error.log", "stderr")):
        (root / "var/log/nginx" / name).unlink(missing_ok=True)
        (root / "var/log/nginx" / name).symlink_to(f"/dev/{stream}")
    for link, there in (("usr/bin/nginx", "/usr/sbin/nginx"), ("usr/local/lib/libmimalloc.so", _mimalloc(root))):
        (root / link).parent.mkdir(parents=True, exist_ok=True)
        (root / link).symlink_to(there)
    (root / "tmp").chmod(0o1777)


def _copy(source: str, target: str) -> None:
    # Files of Go's cache are read-only, and these are the controller's own to write.
    shutil.copyfile(source, target)
    Path(target).chmod(0o644)


def _mimalloc(root: Path) -> str:
    found = sorted((root / "usr/lib").rglob("libmimalloc.so.*"))
    if not found:
        raise MirrorError("no libmimalloc in Debian's package")
    return "/" + str(found[0].relative_to(root))


def _add_shell(root: Path, busybox: Path) -> None:
    shutil.copyfile(busybox, root / "usr/bin/busybox")
    (root / "usr/bin/busybox").chmod(0o755)
    for tool in ("cat", "cp", "ls", "mkdir", "rm", "sh"):
        link = root / "usr" / "bin" / tool
        if not link.exists():
            link.symlink_to("busybox")


def pack(root: Path, target: Path) -> None:
    """The tree as a tarball: all root's but what the controller writes, with the capability to bind low ports."""
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as tar:
        for path in _sorted(root):
            inside = str(path.relative_to(root))
            entry = tar.gettarinfo(path, inside)
            entry.uid = entry.gid = 0
            entry.uname = entry.gname = ""
            entry.mtime = 0
            if any(inside == owned or inside.startswith(f"{owned}/") for owned in _OWNED):
                entry.uid, entry.gid = USER, _GROUP
            if inside in _MAY_BIND:
                entry.pax_headers = {"SCHILY.xattr.security.capability": _BIND_CAPABILITY}
            if entry.isreg():
                entry.mode = stat.S_IMODE(path.stat().st_mode)
                with path.open("rb") as file:
                    tar.addfile(entry, file)
            else:
                tar.addfile(entry)


def _sorted(root: Path) -> Iterator[Path]:
    for folder, names, leaves in os.walk(root):
        names.sort()
        yield from (Path(folder, name) for name in sorted([*names, *leaves]))
