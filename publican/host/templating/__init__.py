"""Chat templates: Jinja programs that came with a model or with a request, so nobody vouches for them.

`chat_template.ChatTemplate` compiles and renders one. Everything a template does goes through a meter (`meter`), by way of the
sandbox's hooks (`environment`), of filters that know their own cost (`filters`, `text_methods`, `operators`) and of a few
calls put into its syntax tree where Jinja has no hook (`instrument`).

What is guaranteed, within one process and on any thread: a render ends within `Limits.cpu_s` of processor time plus one
operation, and every single operation is bounded by the size limits (measured: below half a second); all that it makes, kept or
not, takes at most `Limits.max_bytes`, its output has at most `Limits.max_text` characters, and it reaches nothing but the
conversation, the variables and the functions listed in `environment`. Compiling is bounded by the source's length and the
syntax tree's size (measured: at most two seconds, for sources made to be slow).
"""
