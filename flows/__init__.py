"""The lifecycle of a prompt, one file per stage: a flow loads the workspace, calls tasks and decides, without I/O."""
