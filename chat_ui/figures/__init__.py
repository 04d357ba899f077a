"""The pictures of this chapter's notebooks, one module a notebook."""
