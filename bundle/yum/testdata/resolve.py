"""Answers for repositories and sets of names, each line one JSON object, whether dnf installs the sets in an empty root.

Each set is tried twice: with all packages, and with only those of its closure, if it has one.
"""
import json
import sys

import dnf


def load(directories, root):
    base = dnf.Base()
    conf = base.conf
    conf.installroot = conf.cachedir = conf.persistdir = conf.logdir = root
    conf.reposdir, conf.plugins, conf.pluginconfpath = [], False, []
    conf.best, conf.install_weak_deps = False, False
    conf.module_platform_id = "platform:el8"
    conf.substitutions.update({"arch": "x86_64", "basearch": "x86_64", "releasever": "8"})
    for i, d in enumerate(directories):
        base.repos.add_new_repo("repo%d" % i, conf, baseurl=["file://" + d])
    base.fill_sack(load_system_repo=False)
    return base


def why_not(base, names, only):
    """Returns "" if dnf installs the names, else the reason."""
    base.reset(goal=True)
    base.sack.reset_excludes()
    if only is not None:
        query = base.sack.query()
        base.sack.add_excludes(query.filter(pkg=[p for p in query if str(p) not in only]))
    try:
        for name in names:
            base.install(name)
        base.resolve()
    except dnf.exceptions.Error as e:
        return str(e) or "no"
    installed = base.sack.query().filter(pkg=list(base.transaction.install_set))
    if any(not installed.filter(name=n) and not installed.filter(provides=n) for n in names):
        return "replaced"  # by a package that obsoletes it and does not provide its name
    return ""


for line in sys.stdin:
    question = json.loads(line)
    base = load(question["repositories"], question["root"])
    answers = []
    for s in question["sets"]:
        closure = s["closure"]
        answers.append({
            "whole": why_not(base, s["names"], None),
            "closed": "" if closure is None else why_not(base, s["names"], set(closure)),
        })
    base.close()
    print(json.dumps(answers), flush=True)
