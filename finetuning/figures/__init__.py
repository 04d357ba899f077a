"""The pictures of this chapter's notebooks, one module a notebook: `from …figures import lora as figures`."""
