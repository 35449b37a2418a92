{% include cookiecutter.kind + ".py" -%}
