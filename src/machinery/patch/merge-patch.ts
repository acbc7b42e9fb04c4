/** JSON merge patch, RFC 7386. Never changes its arguments. */
import { deepClone, getOwn, isJsonObject, setOwn, type JsonObject } from '../json.ts';

/** null deletes a field, objects merge, everything else replaces. */
export function applyMergePatch(target: unknown, patch: unknown): unknown {
  if (!isJsonObject(patch)) return deepClone(patch);
  return mergeInto(isJsonObject(target) ? deepClone(target) : {}, patch);
}

/** target may be changed. */
function mergeInto(target: JsonObject, patch: JsonObject): JsonObject {
  for (const key of Object.keys(patch)) {
    const value = getOwn(patch, key);
    if (value === null) {
      delete target[key];
    } else if (isJsonObject(value)) {
      const current = getOwn(target, key);
      setOwn(target, key, mergeInto(isJsonObject(current) ? current : {}, value));
    } else {
      setOwn(target, key, deepClone(value));
    }
  }
  return target;
}

/** The smallest merge patch that converts one value to the other, as clients send it. */
export function createMergePatch(from: JsonObject, to: JsonObject): JsonObject {
  const patch: JsonObject = {};
  for (const key of Object.keys(from)) if (getOwn(to, key) === undefined) setOwn(patch, key, null);
  for (const key of Object.keys(to)) {
    const before = getOwn(from, key);
    const after = getOwn(to, key);
    if (after === undefined) continue;
    if (isJsonObject(before) && isJsonObject(after)) {
      const inner = createMergePatch(before, after);
      if (Object.keys(inner).length > 0) setOwn(patch, key, inner);
    } else if (JSON.stringify(before) !== JSON.stringify(after)) {
      setOwn(patch, key, deepClone(after));
    }
  }
  return patch;
}
