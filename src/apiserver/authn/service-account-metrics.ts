/** How service account tokens are used, under upstream's names. */

export class ServiceAccountMetrics {
  valid = 0;
  stale = 0;
  legacy = 0;
  legacyManual = 0;
  legacyGenerated = 0;
  invalidGenerated = 0;

  render(): string {
    const lines: string[] = [];
    const counter = (name: string, help: string, value: number): void => {
      lines.push(`# HELP ${name} ${help}`, `# TYPE ${name} counter`, `${name} ${value}`);
    };
    counter(
      'serviceaccount_valid_tokens_total',
      'Uses of bound service account tokens before they should have been renewed.',
      this.valid,
    );
    counter(
      'serviceaccount_stale_tokens_total',
      'Uses of bound service account tokens after they should have been renewed.',
      this.stale,
    );
    counter(
      'serviceaccount_legacy_tokens_total',
      'Uses of service account tokens that are kept in secrets.',
      this.legacy,
    );
    counter(
      'serviceaccount_legacy_manual_token_uses_total',
      'Of these, of secrets made by hand.',
      this.legacyManual,
    );
    counter(
      'serviceaccount_legacy_auto_token_uses_total',
      'Of these, of secrets made by the token controller of the past.',
      this.legacyGenerated,
    );
    counter(
      'serviceaccount_invalid_legacy_auto_token_uses_total',
      'Uses of tokens whose secrets are marked as invalid.',
      this.invalidGenerated,
    );
    return lines.join('\n');
  }
}
