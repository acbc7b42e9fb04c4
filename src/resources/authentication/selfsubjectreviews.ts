/** SelfSubjectReview: answered by the server itself, never stored. */
import { defineResource } from '../define.ts';

export const selfsubjectreviews = defineResource({
  group: 'authentication.k8s.io',
  plural: 'selfsubjectreviews',
  virtual: true,
});
