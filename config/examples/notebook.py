# %% [markdown]
# # Hosted fine-tuning jobs beside local runs, from a notebook
#
# Needs a provider's key in the environment, such as OPENAI_API_KEY. Open this file in an editor that
# supports cells (VS Code, PyCharm, Jupytext), or run it: `python notebook.py`.

# %%
import mlflow

import bridge

mlflow.set_experiment(
    "support-bots"
)  # where your own runs are; MLFLOW_TRACKING_URI names the MLflow server

# %% [markdown]
# ## The history
#
# One run for each job. The losses of hosted runs take the names that the local runs of the
# experiment use, so that they share their charts.

# %%
history = bridge.backfill(since="30d")
for failure in history.failures:
    print(failure.provider, failure.job_id, failure.error)
print(f"{len(history.runs)} jobs, {history.new} of them new")

frame = history.data_frame()
print(frame[["tags.fine_tuning_job_id", "tags.base_model", "status"]].to_string())

# %% [markdown]
# ## One job
#
# By its id, or as the object that the provider's SDK returns.

# %%
job_id = frame["tags.fine_tuning_job_id"][0]
run = bridge.log_job(job_id)
print(run.info.run_name, run.info.status, run.data.metrics)

# %% [markdown]
# ## A job that trains
#
# Blocks until it has ended; the stop button ends the wait, and the run stays as it is.

# %%
run = bridge.follow(job_id, interval=5)
print(run.info.run_name, run.info.status)

# %% [markdown]
# ## A launch script
#
# The run exists before the job does: it has what you log and what the job logs.

# %%
with mlflow.start_run(run_name="support bot, second try") as launched:
    mlflow.log_param("prompt_version", 7)
    wanted = bridge.metadata(launched)
    # OpenAI, Azure, Nebius, Mistral:
    #     client.fine_tuning.jobs.create(training_file=..., model=..., metadata=wanted)
    # Together, Fireworks, Vertex, which store no metadata: once the job exists
    #     bridge.log_job(job, run_id=launched.info.run_id)
print(wanted)
