/* named_templates.h - the chat templates of a model that have names, such as tool_use.
 *
 * save_pretrained of transformers writes the template "default" as chat_template.jinja, and each
 * other one as additional_chat_templates/NAME.jinja. tokenizer_config.json may hold the same as a
 * list, which every version of transformers since 4.39 reads:
 *
 *     "chat_template": [{"name": "default", "template": "…"}, {"name": "tool_use", "template":
 * "…"}]
 *
 * Our programs write folders without subfolders, so they write the list.
 */
#ifndef LONGQLORA_LLAMA_NAMED_TEMPLATES_H
#define LONGQLORA_LLAMA_NAMED_TEMPLATES_H

#include "lib/common/json.h"

/* Returns a JSON array of the names, such as "additional_chat_templates/tool_use.jinja", in
 * alphabetical order. It is empty if the folder has no such files. NULL on failure. The caller
 * calls json_decref. */
json_t *named_templates_find(const char *folder, struct fail *why);

/* Adds the text of a file to the list. The template is called "default" if the file's name is
 * chat_template.jinja. It replaces a template of the same name, as in transformers. \r\n and \r
 * become \n, as when Python reads a text. Fails if the text is not UTF-8 or has a NUL character;
 * the message does not name it. */
int named_templates_add(json_t *list, const char *file, const char *text, size_t bytes,
                        struct fail *why) MUST_USE;
/* Returns the text of the template "default" if it is the only one in the list. transformers then
 * has one template without a name. Otherwise returns NULL. Borrowed. */
const char *named_templates_only_default(const json_t *list);

#endif
