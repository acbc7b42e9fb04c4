/**
 * The second round of mutating admission: if a webhook or policy changed the object, every mutating step runs again: all built-in plugins, and
 * webhooks and policies with reinvocationPolicy IfNeeded. At most one per request.
 */
export class Reinvocation {
  /** True in the second round. */
  isSecondRound = false;
  /** Set when a step changed the object. */
  wanted = false;
  /** Each plugin's own memory of the first round, by its name. */
  readonly memory = new Map<string, unknown>();
}

/** Makes it when the request has none yet. */
export function trackReinvocation(attributes: { reinvocation?: Reinvocation | undefined }): Reinvocation {
  return (attributes.reinvocation ??= new Reinvocation());
}
