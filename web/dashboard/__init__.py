from flask import Flask
from taskqueue.settings import Settings


def mount(app: Flask, settings: Settings) -> None:
    """To be written."""
