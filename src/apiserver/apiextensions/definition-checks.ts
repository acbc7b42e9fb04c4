import type { FieldError } from '#machinery/errors.ts';
import type { CustomResourceDefinition } from '#api/types.ts';
export function checkDefinition(_definition: CustomResourceDefinition, _previous?: CustomResourceDefinition): FieldError[] { return []; }
