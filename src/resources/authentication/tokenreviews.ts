/** TokenReview: answered by the server itself, never stored. */
import { defineResource } from '../define.ts';

export const tokenreviews = defineResource({
  group: 'authentication.k8s.io',
  plural: 'tokenreviews',
  virtual: true,
});
