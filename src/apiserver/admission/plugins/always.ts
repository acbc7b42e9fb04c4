/** AlwaysAdmit and AlwaysDeny: for tests of clients. The first does nothing, the second refuses every write and connection. */
import { forbid } from '../forbid.ts';
import type { AdmissionPlugin } from '../plugin.ts';

export const alwaysAdmit: AdmissionPlugin = { name: 'AlwaysAdmit', handles: () => false };

export const alwaysDeny: AdmissionPlugin = {
  name: 'AlwaysDeny',
  handles: () => true,
  admit(attributes) {
    throw forbid(attributes, 'admission control is denying all modifications');
  },
};
