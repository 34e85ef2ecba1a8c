/**
 * The images with which a family is quantised or compressed: for each pack the folder of its name, in the layout of
 * training data (`<domain>/<split>/<class>/<file>`) or in any other.
 */
import { readdir, readFile } from 'node:fs/promises'
import { basename, extname, join } from 'node:path'
import { FacetError } from '../errors.js'
import type { Family } from '../family/family.js'
import { isFileError, naming } from '../host/file-problem.js'
import { BASE_DOMAIN } from '../manifest/manifest.js'
import type { Pack } from '../pack/pack.js'
import { readPack } from '../pack/read.js'
import { ImagesError } from './images-error.js'

/** One domain's pack and images. */
export interface DomainImages {
  domain: string
  pack: Pack
  /** Images that show what its values are; never held-out ones where splits are told apart. */
  calibration: string[]
  /** Held-out images with their classes; empty where there are none. */
  heldOut: LabelledImage[]
}

export interface LabelledImage {
  file: string
  /** Index of its class among the pack's labels. */
  label: number
}

/** A pack's file, and the domain that it is named for. */
export interface PackFile {
  domain: string
  file: string
}

export interface ImagesOptions {
  family: Family
  /** Folder of the images. */
  images: string
  /** The packs of domains; the base is one more. */
  packs: readonly PackFile[]
  /** Most images for each domain, to calibrate and to measure. */
  limit: number
  measure: number
}

const IMAGES = 'The folder of images (--images)'
const IMAGES_REMEDY = 'Name a folder with a folder of images for each domain.'
const PACKS = 'The folder of packs (--packs)'
export const imageExtensions = new Set(['.avif', '.gif', '.jpeg', '.jpg', '.png', '.tif', '.tiff', '.webp'])

/**
 * The domains with images, sorted by name; the base is one of them where `images` has a folder for it, or no folder for
 * any domain.
 *
 * @returns also the packs for which there are no images
 * @throws FileProblem, ImagesError that name the folder or the pack, and what is wrong
 */
export async function findImages(
  options: ImagesOptions,
): Promise<{ domains: DomainImages[]; without: string[] }> {
  const { family, images, packs, limit, measure } = options
  const folders = new Set(await naming(IMAGES, images, IMAGES_REMEDY, () => readdir(images)))
  const domains: DomainImages[] = []
  const without: string[] = []
  for (const [domain, read] of packReaders(family, packs)) {
    const folder = [domain, `vd_${domain}`].find((name) => folders.has(name))
    const files = folder === undefined ? [] : await listImages(join(images, folder))
    if (files.length === 0) {
      if (domain !== BASE_DOMAIN) without.push(domain)
      continue
    }
    const pack = await read()
    domains.push(split(domain, pack, files, { limit, measure }))
  }
  if (domains.length > 0) return { domains, without }
  const files = await listImages(images)
  if (files.length === 0 || without.length > 0)
    throw new ImagesError(`${IMAGES} ${images} ${lacking(without)}`)
  return { domains: [split(BASE_DOMAIN, family.base, files, { limit, measure: 0 })], without }
}

function lacking(packs: readonly string[]): string {
  const layout =
    'Images of a domain lie in the folder of its name: <domain>/<split>/<class>/<file>, or in any other order.'
  if (packs.length === 0) return `has no images. ${layout}`
  const some = `${packs.slice(0, 6).join(', ')}${packs.length > 6 ? ', ...' : ''}`
  return `has no images of any pack's domain (${some}). ${layout}`
}

/** What reads each domain's pack, the base's first. */
function packReaders(family: Family, packs: readonly PackFile[]): Map<string, () => Promise<Pack>> {
  const readers = new Map<string, () => Promise<Pack>>([[BASE_DOMAIN, async () => family.base]])
  for (const pack of packs) readers.set(pack.domain, () => readDomainPack(family, pack))
  return readers
}

/** @throws ImagesError for a pack that the family cannot serve */
export async function readDomainPack(family: Family, { file }: PackFile): Promise<Pack> {
  const bytes = await naming('The pack', file, 'Name a pack, a .safetensors file.', () => readFile(file))
  try {
    return readPack(bytes, family.manifest)
  } catch (error) {
    if (!(error instanceof FacetError)) throw error
    throw new ImagesError(
      `The pack ${file} cannot be used: ${error.problems[0] ?? error.message}. Leave it out, or name a pack of the family ${family.manifest.name}.`,
    )
  }
}

/** The packs in a folder, sorted by name. */
export async function packsIn(folder: string): Promise<PackFile[]> {
  const names = await naming(PACKS, folder, 'Name a folder of packs of this family.', () => readdir(folder))
  return names
    .filter((name) => name.endsWith('.safetensors'))
    .sort()
    .map((name) => packFile(join(folder, name)))
}

/** A pack's file, whose domain is its name. */
export function packFile(file: string): PackFile {
  return { domain: basename(file).replace(/\.safetensors$/, ''), file }
}

/** Paths of the images in a folder, sorted, as parts: `[folder, split, class, file]`. */
async function listImages(folder: string): Promise<string[][]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch((error: Error) => {
    if (isFileError(error) && error.code === 'ENOTDIR') return []
    throw error
  })
  return entries
    .filter((entry) => entry.isFile() && imageExtensions.has(extname(entry.name).toLowerCase()))
    .map((entry) => join(entry.parentPath, entry.name).slice(folder.length + 1))
    .sort()
    .map((path) => [folder, ...path.split(/[\\/]/)])
}

function split(
  domain: string,
  pack: Pack,
  files: string[][],
  { limit, measure }: { limit: number; measure: number },
): DomainImages {
  const of = (...splits: string[]) => files.filter(([, name]) => splits.includes(name!))
  const [train, test] = [of('train'), of('test')]
  const heldOut = test.length > 0 ? test : of('val')
  const others = files.filter(([, name]) => !['test', 'val'].includes(name!))
  const shown = train.length > 0 ? train : others.length > 0 ? others : files
  const classes = [...new Set(train.map(([, , name]) => name!))].sort()
  const labelled = classes.length === pack.head?.classes ? heldOut : []
  return {
    domain,
    pack,
    calibration: spread(shown, limit).map((parts) => join(...parts)),
    heldOut: spread(labelled, measure).flatMap((parts) => {
      const label = classes.indexOf(parts[2]!)
      return label < 0 ? [] : [{ file: join(...parts), label }]
    }),
  }
}

/** At most `count` entries, spread evenly over all: the same ones every time, and of all classes. */
function spread<T>(entries: readonly T[], count: number): T[] {
  const taken = Math.min(count, entries.length)
  return Array.from({ length: taken }, (_, index) => entries[Math.floor((index * entries.length) / taken)]!)
}
