"""Folders as finished runs leave them, with the few settings and sets that comparisons look at."""

import json

import yaml

TERMS = {"fd": 3.90625, "crd": 0.5, "icl": 1.0, "cross_kd": 1.0}
OOD = ("imagenet-v2", "imagenet-r", "imagenet-a", "imagenet-sketch", "objectnet")


def set_scores(accuracy, ece=0.05, role="ood", **more):
    return {"split": "test", "role": role, "n": 100, "accuracy": accuracy, "ece": ece, "macro_f1": accuracy, **more}


def scores(id_accuracy, ood_accuracy, ece=0.05, names=("mine", "other"), **more):
    """One ID set, and OOD sets that are all alike, with their mean."""
    results = {names[0]: set_scores(id_accuracy, ece, "id", **more)}
    results |= {name: set_scores(ood_accuracy, 2 * ece, **more) for name in names[1:]}
    mean = {"accuracy": ood_accuracy, "ece": 2 * ece, "macro_f1": ood_accuracy, **more}
    return {**results, "avg_ood": {"sets": list(names[1:]), **mean}}


def config(folder, method="tracer", seed=0, terms=TERMS, beta=0.5, strength=0.9, every=1, teacher="WMA", **more):
    """The resolved settings of a run in a folder; further ones by dotted key."""
    kernel = {"_target_": "tracer_lightning.kernels.BetaKernel", "beta": beta}
    module = {"_target_": f"tracer_lightning.teachers.{teacher}Teacher", "_partial_": True}
    settings = {
        "name": "digits",
        "run": folder.name,
        "seed": seed,
        "resume": None,
        "distill_losses": {name: {"weight": TERMS[name], "term": {"_target_": name}} for name in terms},
        "paths": {"outputs": "outputs", "output_dir": str(folder)},
        "kernel": kernel,
        "teacher": {"every_n_steps": every, "module": {**module, **({"kernel": kernel} if teacher == "WMA" else {})}},
        "optimizer": {"lr": 1e-3, "betas": [0.9, 0.98]},
        "callbacks": {"teacher_update": {"every_n_steps": every}, "export": {"folder": f"{folder}/export"}},
        "logger": {"wandb": {"name": f"digits-{method}-seed{seed}"}},
        "method": {"name": method, "strength": strength},
    }
    for key, value in more.items():
        place = settings
        *above, last = key.split(".")
        for part in above:
            place = place.setdefault(part, {})
        place[last] = value
    return settings


def write_run(folder, student, after=None, zero_shot=None, trained=None, **settings):
    """A finished run with scores of its student and, after it, of its teacher; its folder.

    An empty ``zero_shot`` is none. Of 2000 parameters ``trained`` are, and None writes neither number, as once it was.
    """
    folder.mkdir(parents=True)
    content = config(folder, **settings)
    (folder / "config.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(content)), sort_keys=False))
    before = scores(0.5, 0.4) if zero_shot is None else zero_shot
    results = {"zero_shot": before or None, "student": student, "teacher": after}
    if trained is not None:
        results["parameters"] = {"total": 2000, "trained": trained}
    about = {"name": content["name"], "method": content["method"]["name"], "seed": content["seed"]}
    (folder / "results.json").write_text(json.dumps({**results, **about, "headline": "accuracy", "seconds": 1.0}))
    return folder


def imagenet_run(folder, accuracy, ood, ece=0.05, names=("imagenet", *OOD), per_batch=None, **settings):
    """A run on the paper's data sets with its backbone."""
    more = {} if per_batch is None else {"ece_per_batch": per_batch}
    settings = {"backbone.name": "ViT-B-16-quickgelu", "backbone.pretrained": "openai", **settings}
    zero_shot = scores(0.68, 0.58, ece, names, **more)
    return write_run(folder, scores(accuracy, ood, ece, names, **more), zero_shot=zero_shot, **settings)
