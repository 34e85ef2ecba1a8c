/** The rule for domain ids. Ids become file names of the store, labels of metrics and segments of URLs. */
import { FacetError } from './errors.js'
import { quoted } from './shown-text.js'

const pattern = /^[a-z0-9][a-z0-9._-]{0,62}$/

/** The rule in words, for messages. */
export const domainIdRule = '1 to 63 of a-z 0-9 . _ - and the first a letter or digit'

export function isDomainId(id: string): boolean {
  return pattern.test(id)
}

/** Returns a valid id unchanged. @throws FacetError `bad_domain_id` (400) */
export function checkDomainId(id: string): string {
  if (isDomainId(id)) return id
  throw new FacetError('bad_domain_id', `${quoted(id)} is not a domain id: ${domainIdRule}.`)
}
