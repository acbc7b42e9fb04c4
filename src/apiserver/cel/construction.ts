/** Objects that expressions make: Object.spec{replicas: 3}, JSONPatch{op: "add", …}. */

/** A value of a constructed type. */
export class CelObject {
  /** 'Object.spec', 'JSONPatch' */
  readonly typeName: string;
  readonly fields: ReadonlyMap<string, unknown>;

  constructor(typeName: string, fields: ReadonlyMap<string, unknown>) {
    this.typeName = typeName;
    this.fields = fields;
  }
}
