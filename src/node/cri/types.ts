/**
 * The messages of CRI v1 (runtime.v1, kubernetes/cri-api) as the codec decodes them; tools/generate-api writes them. In an answer every scalar,
 * list and map is present (proto3 defaults filled in) and a message field that was not sent is absent. Requests take the same shapes with
 * everything optional: see CriInput.
 */
export type * from './generated/messages.ts';

/** Fields that a request may omit: all, at any depth. */
export type CriInput<T> = T extends string | number | boolean | Buffer
  ? T
  : T extends readonly (infer Item)[]
    ? readonly CriInput<Item>[]
    : string extends keyof T
      ? T
      : { readonly [Key in keyof T]?: CriInput<T[Key]> | undefined };
