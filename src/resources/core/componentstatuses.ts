/** ComponentStatus: answered by the server itself, never stored. */
import { defineResource } from '../define.ts';

export const componentstatuses = defineResource({ group: '', plural: 'componentstatuses', virtual: true, deprecation: 'v1 ComponentStatus is deprecated in v1.19+' });
