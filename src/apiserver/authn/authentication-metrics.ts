/** Who was let in and who was not, under upstream's names. */

export class AuthenticationMetrics {
  readonly attempts = { success: 0, failure: 0, error: 0 };
  readonly #users = new Map<string, number>();

  succeeded(username: string): void {
    this.attempts.success++;
    const label = userLabel(username);
    this.#users.set(label, (this.#users.get(label) ?? 0) + 1);
  }

  render(): string {
    const lines = [
      '# HELP authentication_attempts Requests by what authentication came to.',
      '# TYPE authentication_attempts counter',
    ];
    for (const [result, count] of Object.entries(this.attempts))
      if (count > 0) lines.push(`authentication_attempts{result="${result}"} ${count}`);
    lines.push(
      '# HELP authenticated_user_requests Requests let in, by a shortened name of their user.',
      '# TYPE authenticated_user_requests counter',
    );
    for (const [label, count] of this.#users)
      lines.push(`authenticated_user_requests{username="${label}"} ${count}`);
    return lines.join('\n');
  }
}

const WELL_KNOWN = new Set([
  'admin',
  'client',
  'kube_proxy',
  'kubelet',
  'system:serviceaccount:kube-system:default',
]);

/** Few labels, and no names of people. */
function userLabel(name: string): string {
  return WELL_KNOWN.has(name) ? name : name.includes('@') ? 'email_id' : 'other';
}
