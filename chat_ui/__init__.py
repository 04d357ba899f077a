"""The chat: talk to a model of this book in a browser, on this machine alone.

`chat_ui.launch` is the command, `chat_ui.app` the window. Nothing is imported here, because importing
Chainlit takes seconds and writes files into the folder that CHAINLIT_APP_ROOT names at that moment.
"""
