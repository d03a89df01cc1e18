// Reading the schemas of an OpenAPI document: what a value is called, what it holds, what an example of it is.

const PREFIX = "#/components/schemas/";
const LIMITS = [["format", ""], ["minimum", "from "], ["maximum", "to "], ["minLength", "length from "], ["maxLength", "length to "], ["minItems", "items from "], ["maxItems", "items to "], ["pattern", "pattern "], ["default", "default "]];

export class Schemas {
  constructor(description) { this.known = description.components?.schemas || {}; }

  // The schema itself where `schema` only points to it; the one choice beside null; what a list holds.
  core(schema) {
    if (schema.$ref) return this.core(this.known[schema.$ref.slice(PREFIX.length)] || {});
    const choices = (schema.anyOf || []).filter((choice) => choice.type !== "null");
    if (choices.length === 1) return this.core(choices[0]);
    return schema.items ? this.core(schema.items) : schema;
  }

  fields(schema) {
    const { properties = {}, required = [] } = this.core(schema);
    return Object.entries(properties).map(([name, inner]) => ({ name, schema: inner, needed: required.includes(name) }));
  }

  // What a value is called, in words: "list of Task", "text or null".
  kind(schema) {
    if (schema.$ref) return schema.$ref.slice(PREFIX.length);
    if (schema.anyOf) return schema.anyOf.map((choice) => this.kind(choice)).join(" or ");
    if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
    if (schema.const !== undefined) return JSON.stringify(schema.const);
    const types = [schema.type ?? "any"].flat();
    return types.map((type) => (type === "array" && schema.items ? `list of ${this.kind(schema.items)}` : type)).join(" or ");
  }

  limits(schema) {
    return LIMITS.filter(([name]) => schema[name] !== undefined)
      .map(([name, words]) => words + (typeof schema[name] === "string" ? schema[name] : JSON.stringify(schema[name]))).join(", ");
  }

  // What a body may begin with: its example, or its needed fields, empty.
  start(content) {
    if (content.example !== undefined) return JSON.stringify(content.example, null, 2);
    const needed = this.fields(content.schema || {}).filter((field) => field.needed);
    return JSON.stringify(Object.fromEntries(needed.map((field) => [field.name, ""])), null, 2);
  }
}
