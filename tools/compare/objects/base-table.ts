/** The form in which the files of this folder give their objects. */

/** By 'group/version/Kind', then by the variant's name. */
export type Bases = Readonly<Record<string, Readonly<Record<string, object>>>>;
