{% include cookiecutter.kind + ".py" %}
