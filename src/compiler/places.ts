/**
 * At which slots a family has matrices: `--slots` of `facet family build`, of the slots that take one. Training reads it
 * alike (`training/slots.py`).
 */
import type { Slot } from '../manifest/manifest.js'
import { BackboneError } from '../onnx/onnx.js'
import { quoted } from '../shown-text.js'
import { similarText } from '../similar-text.js'
import type { ClosedSlot } from './slots/kind.js'

/** Thirds of the slots in forward order. */
const thirds = ['early', 'middle', 'late'] as const
type Third = (typeof thirds)[number]

/** What was asked for, as it was written and as it is meant. */
export type MatrixPlaces = { text: string } & (
  | { thirds: readonly Third[] }
  | { names: readonly string[] }
  | { pattern: RegExp }
)

/** What was found in a backbone, with a matrix at every slot that takes one. */
export interface FoundSlots {
  open: readonly { slot: Pick<Slot, 'name' | 'columns'> }[]
  closed: readonly Pick<ClosedSlot, 'name' | 'reason'>[]
}

const FORMS = 'early, middle or late (joined by +), a file of slot names, or a regular expression'
/** How many names a message gives. */
const SHOWN = 6

/**
 * Reads `text`: words for thirds, joined by `+`; else a file of names; else a regular expression that is searched in
 * names.
 *
 * @param file what the file that `text` names holds: a slot's name on each line; empty lines and those that begin with #
 * are left out. Undefined where there is no such file
 * @throws BackboneError for a file without names, and where it is none of the three
 */
export function matrixPlaces(text: string, file: string | undefined): MatrixPlaces {
  const words = text.split('+')
  if (words.every((word): word is Third => (thirds as readonly string[]).includes(word)))
    return { text, thirds: words }
  if (file !== undefined) {
    const names = file.split('\n').map((line) => line.trim())
    const given = names.filter((name) => name !== '' && !name.startsWith('#'))
    if (given.length > 0) return { text, names: given }
    throw new BackboneError(
      `The file ${text} (--slots) names no slot. Write the name of a slot on each line; --plan lists them.`,
    )
  }
  try {
    return { text, pattern: new RegExp(text) }
  } catch (error) {
    throw new BackboneError(
      `--slots ${quoted(text)} cannot be read: ${(error as Error).message}. Give ${FORMS}.`,
      { cause: error },
    )
  }
}

/** Names of the slots that take a matrix, in forward order. */
export function takingMatrix({ open }: FoundSlots): string[] {
  return open.filter(({ slot }) => slot.columns > 0).map(({ slot }) => slot.name)
}

/**
 * Names of the slots that get a matrix.
 *
 * @throws BackboneError where there is none, or a name is no such slot's
 */
export function slotsAt(places: MatrixPlaces, found: FoundSlots): ReadonlySet<string> {
  const names = takingMatrix(found)
  if (names.length === 0)
    throw new BackboneError(
      'No slot that is opened takes a matrix: leave --slots out, or open other layers with --open.',
    )
  const chosen = 'names' in places ? listed(places, names, found) : names.filter(choosing(places, names))
  if (chosen.length === 0) throw noneChosen(places, names, found)
  return new Set(chosen)
}

/** Cut at ceil(n / 3) and ceil(2n / 3), so that every slot is in one of them. */
function choosing(
  places: Exclude<MatrixPlaces, { names: readonly string[] }>,
  { length }: readonly string[],
): (name: string, at: number) => boolean {
  if ('pattern' in places) return (name) => places.pattern.test(name)
  const [first, second] = [Math.ceil(length / 3), Math.ceil((2 * length) / 3)]
  const third = (at: number) => thirds[at < first ? 0 : at < second ? 1 : 2]
  return (_, at) => places.thirds.includes(third(at))
}

/** The names of a file, each of which must be a slot's that takes a matrix. */
function listed(
  { text, names: given }: { text: string; names: readonly string[] },
  names: readonly string[],
  found: FoundSlots,
): readonly string[] {
  const wrong = [...new Set(given)].filter((name) => !names.includes(name))
  if (wrong.length === 0) return given
  const problems = wrong.map((name) => `${quoted(name)} ${whyNot(name, names, found)}`)
  throw new BackboneError(
    `The file ${text} (--slots) names what has no matrix: ${shown(problems)}. ${those(names)}`,
  )
}

/** Why a name is none of a slot that takes a matrix. */
function whyNot(name: string, names: readonly string[], { open, closed }: FoundSlots): string {
  if (open.some(({ slot }) => slot.name === name)) return 'takes scale and bias alone'
  const frozen = closed.find((entry) => entry.name === name)
  if (frozen) return `stays frozen (${frozen.reason})`
  const similar = similarText(name, names)
  return similar === null ? 'is no slot of this network' : `is no slot: did you mean ${similar}?`
}

function noneChosen(places: MatrixPlaces, names: readonly string[], found: FoundSlots): BackboneError {
  const { text } = places
  const others = [...found.open.map(({ slot }) => slot.name), ...found.closed.map(({ name }) => name)]
  const matched = 'pattern' in places ? others.filter((name) => places.pattern.test(name)) : []
  const reasons = matched.map((name) => `${name} ${whyNot(name, names, found)}`)
  const instead = reasons.length === 0 ? '' : ` (${shown(reasons)})`
  const file = 'pattern' in places ? ', and there is no such file' : ''
  return new BackboneError(
    `--slots ${quoted(text)} chooses no slot with a matrix${instead}${file}. Give ${FORMS}. ${those(names)}`,
  )
}

function those(names: readonly string[]): string {
  return `The slots that take a matrix are ${shown(names)}; --plan lists them.`
}

function shown(texts: readonly string[]): string {
  const more = texts.length > SHOWN ? `, and ${texts.length - SHOWN} more` : ''
  return texts.slice(0, SHOWN).join(', ') + more
}
