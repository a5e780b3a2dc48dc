"""Command lines of the commands without a configuration. This module imports nothing heavy, so that --help is quick."""

from __future__ import annotations

from pathlib import Path

from tracer_lightning.commands.program import invocation
from tracer_lightning.reporting.command_line import Parser, finished_runs_parser
from tracer_lightning.reporting.model_choices import CHOICES, STUDENT
from tracer_lightning.storage.shard_layout import ShardLayout

COLLECT_EXAMPLES = """examples:
  %(prog)s outputs/digits/2026-01-31_12-00-00
  %(prog)s 'outputs/vitb16_wma/*' --sets all --out tables
  %(prog)s outputs/digits/betas outputs/digits/more_betas --model all --metrics accuracy macro_f1
  %(prog)s outputs/digits/frontier outputs/merge/flyp --frontier --model all --out frontier

Runs that differ only in their seeds share one row, labelled with the settings that vary among the runs. Runs on the
paper's datasets are shown with the published values. A second table compares accuracy with each run's own zero-shot
accuracy: gain (after - zero-shot) on ID and on OOD sets, forgetting (mean of max(0, zero-shot - after) over all sets
except the ID ones), and the share of trained parameters. --out writes comparison.html (sortable table, training curves,
ID and OOD results with the WiSE-FT merges below RUNS), table.csv (all results, unrounded), table.md, table.tex and,
where exactly one number or the set of terms varies, curves.png and curves.svg.

--frontier compares trade-offs instead: runs that differ only in seed, learning rate and strength are a series, and so
are the alphas of WiSE-FT merges below RUNS. It shows the area under the Pareto front of each series, and its accuracy
at equal ID accuracy; --out writes frontier.csv, frontier.md, frontier.png and frontier.svg.

Sequences of tasks (tasks=[...]) have a table of their own, with one row for all seeds of the same settings; --out
writes it as continual.csv, continual.md and continual.tex. Their tasks are no runs of the other tables, unless RUNS
names the folder of a task itself."""
DYNAMICS_EXAMPLES = """examples:
  {train} -m method=tracer,tracer_ema seed=0,1,2 callbacks=teacher_statistics run=gaps
  %(prog)s outputs/digits/gaps --out gaps.png
  %(prog)s outputs/digits/dense 'outputs/digits/sparse/*-tracer-*' --out figures/gaps.svg

Runs that differ only in their seeds share one line, labelled with the settings that vary among the runs: the mean, and
a band from the smallest to the largest value of the seeds. Statistics of batches are averaged over neighbouring steps.
The table has means over the first, the middle and the last tenth of the logged values, with standard deviations over
seeds. Values are logged every callbacks.teacher_statistics.every_n_steps steps; runs without
callbacks=teacher_statistics have no distances. --out writes the figure in the format of its name (png, svg, pdf) and
the unrounded table as a CSV file next to it."""
SHARDS_EXAMPLES = """examples:
  %(prog)s folder pets/train --out shards/pets --split train --verify
  %(prog)s torchvision CIFAR10 ~/data --out shards/cifar10 --split test --templates templates.txt
  %(prog)s torchvision CIFAR10 ~/data --out shards/cifar10 --held-out 0.1      # train and val
  %(prog)s csv captions.csv --out shards/pairs
  %(prog)s iwildcam ~/data --out shards

Interrupted? The same command again keeps the shards that are complete and writes the others.
Use the same --out for all splits (train, test) of a dataset."""

ARRAYS_EXAMPLES = """examples:
  %(prog)s ninapro downloads arrays/ninapro
  %(prog)s darcy downloads arrays/darcy

  TASK      files in SRC, as the benchmark's page links to them
  cifar100  cifar-100-python/train, test
  spherical s2_cifar100.gz
  ninapro   ninaPro/ninapro_{train,val,test}.npy, ninaPro/label_{train,val,test}.npy
  fsd50k    fsd/chunks/{tr,val,eval}.csv, fsd/chunks/lbl_map.json and the waves that they list
  darcy     piececonst_r421_N1024_smooth1.mat, piececonst_r421_N1024_smooth2.mat
  psicov    protein/deepcov.lst, protein/psicov.lst, protein/{deepcov,psicov}/{features,distance}/
  cosmic    train_dirs.npy, test_dirs.npy and the files that they list
  ecg       challenge2017.pkl
  satellite satellite_train.npy, satellite_test.npy
  deepsea   deepsea_filtered.npz

Nothing in these files is executed: of pickles only plain values and arrays are read. Where the benchmark has no
validation split, samples are held out of training. Shapes and numbers of samples are checked."""


def runs_parser(program: str) -> Parser:
    """Command line of ``runs``, which lists finished runs."""
    parser = Parser(prog=program, description="Finished runs with their main results.")
    parser.add_argument(
        "runs", nargs="*", metavar="RUNS", default=["outputs"], help="folder above runs, or a glob pattern (outputs)"
    )
    parser.add_argument("--tags", nargs="+", metavar="TAG", default=[], help="only runs that have all these tags")
    return parser


def collect_parser(program: str) -> Parser:
    """Command line of ``collect``, which compares finished runs."""
    parser = finished_runs_parser("Mean and standard deviation over seeds of finished runs.", COLLECT_EXAMPLES, program)
    parser.add_argument("--model", choices=CHOICES, default=STUDENT, help="model whose results to show (%(default)s)")
    parser.add_argument("--metrics", nargs="+", metavar="METRIC", help="names as in results.json (accuracy ece)")
    parser.add_argument(
        "--sets", nargs="+", metavar="SET", help="datasets and averages, or all (ID, avg_ood, avg_other)"
    )
    parser.add_argument("--frontier", action="store_true", help="compare trade-offs of ID and OOD accuracy")
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="also write a page, tables and curves to this folder"
    )
    return parser


def dynamics_parser(program: str) -> Parser:
    """Command line of ``dynamics``, which plots how teacher and student evolve."""
    examples = DYNAMICS_EXAMPLES.format(train=invocation("train"))
    parser = finished_runs_parser("Teacher and student over the optimizer steps.", examples, program)
    parser.add_argument("--out", type=Path, metavar="FILE", help="also draw the figure to this file")
    return parser


def make_shards_parser(program: str) -> Parser:
    """Command line of ``make_shards``, with one subcommand per kind of source."""
    layout, shared = ShardLayout(), Parser(add_help=False)
    shared.add_argument("--out", type=Path, required=True, metavar="ROOT", help="folder of the dataset")
    shared.add_argument("--seed", type=int, default=layout.seed, help="seed of the order of samples (%(default)s)")
    shared.add_argument("--max-samples", type=int, default=layout.max_samples, help="samples per shard (%(default)s)")
    shared.add_argument("--max-bytes", type=int, default=layout.max_bytes, help="bytes per shard (%(default)s)")
    shared.add_argument(
        "--classnames", type=Path, metavar="FILE", help="class names, one per line, instead of the source's"
    )
    shared.add_argument(
        "--templates", type=Path, metavar="FILE", help="templates, one per line, with {c} for the class"
    )
    shared.add_argument("--overwrite", action="store_true", help="start over where ROOT contains another split")
    shared.add_argument("--verify", action="store_true", help="read everything again and check it")
    split = Parser(add_help=False)
    split.add_argument("--split", default="train", help="folder within ROOT (%(default)s)")
    split.add_argument(
        "--held-out", type=float, metavar="FRACTION", help="write this fraction of each class as the split val instead"
    )

    parser = Parser(prog=program, description="Write images as shards.", epilog=SHARDS_EXAMPLES)
    sources = parser.add_subparsers(title="sources", required=True, metavar="SOURCE", dest="source")
    folder = sources.add_parser("folder", parents=[split, shared], help="one folder of images per class")
    folder.add_argument("path", type=Path, metavar="PATH")
    vision = sources.add_parser("torchvision", parents=[split, shared], help="a dataset of torchvision, on disk")
    vision.add_argument("name", metavar="NAME", help="class of the dataset, such as CIFAR10")
    vision.add_argument("path", type=Path, metavar="ROOT", help="root of the dataset; nothing is downloaded")
    table = sources.add_parser("csv", parents=[split, shared], help="a table: path, label (name or index), caption")
    table.add_argument("path", type=Path, metavar="FILE", help="table with paths relative to its folder")
    table.add_argument("--skip-empty", action="store_true", help="skip rows without label and caption")
    wild = sources.add_parser("iwildcam", parents=[shared], help="iWildCam of WILDS: train, id_val, id_test, ood_test")
    wild.add_argument("path", type=Path, metavar="ROOT", help="folder that contains iwildcam_v2.0")
    wild.add_argument("--labels", type=Path, metavar="FILE", help="table of classes: y, name, optionally english")
    tiny = sources.add_parser("tiny_imagenet", parents=[shared], help="Tiny-ImageNet: train, test")
    tiny.add_argument("path", type=Path, metavar="ROOT", help="folder that contains train")
    return parser


def make_arrays_parser(program: str) -> Parser:
    """Command line of ``make_arrays``, which converts the tasks of NAS-Bench-360."""
    parser = Parser(prog=program, description="Write a task of NAS-Bench-360 as arrays.", epilog=ARRAYS_EXAMPLES)
    parser.add_argument("task", metavar="TASK", help="name of the task, see below")
    parser.add_argument("source", type=Path, metavar="SRC", help="folder of the files that were downloaded")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of .npy files to write, for data.root=")
    parser.add_argument("--any-count", action="store_true", help="accept other numbers of samples, as of a part")
    return parser
