"""Training: one job a run and seed, resumable in a run directory that Snakemake leaves alone.

The earlier weights and logs stay until the new ones are there: ``update``. They tell what they were
made from, and plan.check compares: parameters that take ``output`` are no reason to run again.
"""


# Here, where the network is, and not in the GPU's job. The files lie in the user's cache.
rule initial_weights:
    output:
        "<results>/{run}/initial_weights.txt",
    log:
        "<results>/logs/initial_weights/{run}.log",
    benchmark:
        "<results>/benchmarks/initial_weights/{run}.tsv"
    localrule: True
    conda:
        "../../environment.yml"
    params:
        experiment=plan.experiment,
    shell:
        "python -m pose.weights initial --experiment {params.experiment:q} > {output:q} 2> {log:q}"


rule train:
    input:
        what_is_stale,
        plan.data_files("train", "val"),
        ancient(plan.initial_weights),
    output:
        weights=update("<results>/{run}/seed{seed}/weights.safetensors"),
        log=update("<results>/{run}/seed{seed}/training.jsonl"),
        performance=update("<results>/{run}/seed{seed}/performance.jsonl"),
    log:
        "<results>/logs/train/{run}-seed{seed}.log",
    benchmark:
        "<results>/benchmarks/train/{run}-seed{seed}.tsv"
    # The longest begin first, so that none is left over at the end.
    priority: lambda wildcards: traffic(plan.runs[wildcards.run].experiment(0))
    retries: 3  # of failures; wins over a profile. A stop at SLURM's time limit is none
    conda:
        "../../environment.yml"
    threads: loader_threads
    resources:
        gpu=plan.gpus,
        device=plan.device,
        data_root=plan.data_root,
    params:
        experiment=lambda wildcards, output: plan.experiment(wildcards),
        run_dir=lambda wildcards, output: plan.run_directory(wildcards),
    shell:
        "python workflow/scripts/launch.py {resources.gpu:q} {threads} pose.train"
        " --experiment {params.experiment:q}"
        " --data-root {resources.data_root:q} --run-dir {params.run_dir:q} --wait"
        " --weights {output.weights:q} --training-log {output.log:q}"
        " --performance {output.performance:q}"
        " --device {resources.device:q}"
        " 2>&1 | tee {log:q}"
