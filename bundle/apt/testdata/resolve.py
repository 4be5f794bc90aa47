"""Answers for each line of names, as apt-get does, whether apt installs them: "yes" or "no"."""
import os
import sys

import apt_pkg

apt_pkg.init()
apt_pkg.config.set("APT::Install-Recommends", "false")
cache = apt_pkg.Cache(progress=None)
depcache = apt_pkg.DepCache(cache)


def installs(names):
    resolver = apt_pkg.ProblemResolver(depcache)
    packages = [cache[name] for name in names]
    with apt_pkg.ActionGroup(depcache):
        for p in packages:
            resolver.clear(p)
            resolver.protect(p)
            depcache.mark_install(p, False, True)
        for p in packages:
            depcache.mark_install(p, True, True)
    try:
        if depcache.broken_count:
            resolver.resolve(True)
    except SystemError:
        return False
    return depcache.broken_count == 0 and all(map(depcache.marked_install, packages))


# A child answers, so that the next one finds nothing marked.
for line in sys.stdin:
    if os.fork() == 0:
        print("yes" if installs(line.split()) else "no", flush=True)
        os._exit(0)
    os.wait()
