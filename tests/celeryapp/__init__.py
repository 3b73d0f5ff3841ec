"""A Django project with Celery as people deploy it: a site, and workers whose tasks send to it.

Environment variables say where it all is: ``CELERYAPP_BROKER`` (Celery's), ``CELERYAPP_LAYER``
(the layer's broker), ``CELERYAPP_BACKEND`` (which layer), ``CELERYAPP_DATABASE``.
"""
