/**
 * The second round of mutating admission: once a webhook or policy changed the object, every mutating step runs again, built-in plugins all,
 * webhooks and policies those that ask for it (reinvocationPolicy IfNeeded). One per request that needs it; there is no third round.
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
export function reinvocationOf(attributes: { reinvocation?: Reinvocation | undefined }): Reinvocation {
  return (attributes.reinvocation ??= new Reinvocation());
}
