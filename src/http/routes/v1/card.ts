/**
 * What a domain is, as its active pack says it: for programs in the domain's answer, for people as Markdown.
 *
 * Everything in it is a customer's text. In Markdown it stays text: it makes no link, image, heading or HTML.
 */
import type { FastifyReply, FastifyRequest } from 'fastify'
import { FacetError } from '../../../errors.js'
import type { DomainView, GateWait, PackInfo } from '../../../registry/types.js'
import { principalOf } from '../../access/auth.js'
import { departure } from '../../exchange/departure.js'
import type { AppDeps, ServedFamily } from '../../exchange/deps.js'

type InputSpec = ServedFamily['manifest']['input']

/** Labels that the Markdown lists; the rest are counted. */
const MAX_LABELS_SHOWN = 200
/** What Markdown gives a meaning anywhere in a line (links that are bare addresses too), and what at its beginning. */
const SPECIAL = /[\\`*_[\]<>#|~&!@]|:(?=\/\/)|(?<=\bwww)\./gi
const OPENING = /^(?:(\d+)(?=[.)](?:\s|$))|(?=[-+=]))/
/** Control characters, line breaks and marks that reorder a line. */
const BREAKS = /[\p{Cc}\p{Zl}\p{Zp}\u202a-\u202e\u2066-\u2069]+/gu

/** The description, as the API shows it. */
export interface Card {
  name: string | null
  description: string | null
  license: string | null
  created: string | null
  activation: PackInfo['activation']
  labels: string[] | null
  /** Free-form figures of the training run, as the pack gives them. */
  metrics: Record<string, unknown> | null
  /** What becomes of an image before it reaches the trunk, with the pack's own normalisation; null where the family is
   * not served. */
  input: InputSpec | null
}

/** A card, and whose it is. */
export interface CardOfDomain extends Card {
  domain: string
  version: string
  family: string | null
}

/** Who asks for a card: it is read in turn with others, and not for a client that has left. */
export function waiting(request: FastifyRequest, reply: FastifyReply): GateWait {
  return { owner: [principalOf(request)], signal: departure(reply) }
}

/** @throws FacetError `unknown_domain`, `no_active_version`, `domain_failed`, `store_failed`, `client_closed` */
export async function cardOf(
  { registry, families }: Pick<AppDeps, 'registry' | 'families'>,
  domain: string,
  wait: GateWait,
): Promise<CardOfDomain> {
  const { version, describe } = registry.pack(domain)
  const info = await describe(wait)
  const served = families.find(({ manifest }) => manifest.fingerprint === info.family)
  return { domain, version, family: served?.manifest.name ?? null, ...shown(info, served?.manifest.input) }
}

/** The card of a domain's active version; null where there is none, or where the pack cannot be read. */
export async function cardWherePossible(
  deps: Pick<AppDeps, 'registry' | 'families'>,
  { domain, version }: DomainView,
  wait: GateWait,
): Promise<Card | null> {
  if (version === null) return null
  try {
    const { domain: _domain, version: _version, family: _family, ...card } = await cardOf(deps, domain, wait)
    return card
  } catch (error) {
    if (error instanceof FacetError && error.code !== 'client_closed') return null
    throw error
  }
}

function shown(info: PackInfo, input: InputSpec | undefined): Card {
  const { name, description, license, created, activation, labels, metrics, mean, std } = info
  return {
    name: name ?? null,
    description: description ?? null,
    license: license ?? null,
    created: created ?? null,
    activation,
    labels,
    metrics: metrics ?? null,
    input: input === undefined ? null : { ...input, mean, std },
  }
}

/** The card as Markdown. */
export function cardText(card: CardOfDomain): string {
  const { domain, version, family, name, description, license, created, activation, labels, metrics, input } =
    card
  const rows: [string, string | null][] = [
    ['Domain', `\`${domain}\``],
    ['Version', `\`${version}\``],
    ['Family', family === null ? null : `\`${family}\``],
    ['Licence', license && plain(license)],
    ['Created', created && plain(created)],
    ['Input', input && `${input.height} x ${input.width}, shorter side ${input.resize}`],
    [
      'Scores',
      activation === 'softmax' ? 'one label an image (softmax)' : 'several labels an image (sigmoid)',
    ],
    ...Object.entries(metrics ?? {}).map(([key, value]): [string, string] => [
      plain(key),
      plain(figure(value)),
    ]),
  ]
  const lines = rows.flatMap(([field, value]) =>
    value === null || value === '' ? [] : [`| ${field} | ${value} |`],
  )
  const text = [`# ${plain(name ?? domain)}`]
  if (description) text.push(plain(description))
  text.push(['| | |', '|---|---|', ...lines].join('\n'), `## Labels`, labelsText(labels))
  return `${text.join('\n\n')}\n`
}

function labelsText(labels: readonly string[] | null): string {
  if (labels === null) return 'None: the domain has no classifier and gives features alone.'
  const list = labels.slice(0, MAX_LABELS_SHOWN).map((label, index) => `${index}. ${plain(label)}`)
  const more = labels.length - list.length
  return [...list, ...(more > 0 ? [`\nand ${more} more; the domain's page in the API has all.`] : [])].join(
    '\n',
  )
}

function figure(value: unknown): string {
  return typeof value === 'string' ? value : JSON.stringify(value)
}

/** Text that Markdown shows as it is, on one line. */
function plain(text: string): string {
  return text.replace(BREAKS, ' ').trim().replace(SPECIAL, '\\$&').replace(OPENING, '$1\\')
}
