"""What a background task costs here, with Celery, and with django-tasks' database worker.

``python -m benchmarks.tasks --help`` says how; ``project/`` is the project they all run.
"""
