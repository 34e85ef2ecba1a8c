/** The types of the API, made of openapi.yaml by `npm run openapi`. */
export interface paths {
    "/v1/domains/{domain}/predict": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Classify images of one domain.
         * @description The body is one image, or any number of images as multipart parts or as base64 in JSON. The type of an
         *     image is read from its bytes: JPEG, PNG, WebP, GIF, AVIF or TIFF (docs/images.md says what becomes of
         *     alpha, animations, orientation, 16 bits, CMYK and profiles). Results have the order of the images.
         *     One bad image fails the request, and the problem names its `index`.
         */
        post: operations["predict"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/domains/{domain}/embed": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Compute the features of images with one domain's adapter.
         * @description Takes the same bodies as predict. Works for packs without a classifier, too.
         */
        post: operations["embed"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/predict": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Classify images of several domains in one request.
         * @description The name of each part is the domain of its image; domains of several families may be mixed. Results have the
         *     order of the parts. One bad part fails the request, and the problem names its `index`.
         */
        post: operations["predictMixed"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/domains": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * List the domains in the order of their ids, one page per request.
         * @description A token that is limited to some domains lists only those.
         */
        get: operations["listDomains"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/domains/{domain}": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        /** One domain, all its versions, and what its active pack says of itself. */
        get: operations["getDomain"];
        /**
         * Register a pack, as a new domain or a new version of one.
         * @description The pack is validated, run once on the engine, written durably, and then made the active version in one
         *     step. No request that arrives after the answer is served by the old version, and no request in flight
         *     fails. Sending the same bytes again succeeds.
         *
         *     The pack may be of any family that is served. One of another family than the domain's active version moves
         *     the domain there; activating an older version moves it back.
         */
        put: operations["putDomain"];
        post?: never;
        /**
         * Delete a domain with all its versions.
         * @description Requests in flight are still answered. A shipped domain that is deleted stays deleted after a restart.
         */
        delete: operations["deleteDomain"];
        options?: never;
        head?: never;
        /** Pin a domain to its bank row, or release it. */
        patch: operations["patchDomain"];
        trace?: never;
    };
    "/v1/domains/{domain}/card": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        /**
         * What a domain is, as its active pack says it, in Markdown.
         * @description Name, description, licence, figures, input and labels (200 at most; `GET /v1/domains/{domain}` has all). The texts
         *     are those of whoever made the pack, and stay text: they make no links, images or HTML.
         */
        get: operations["getCard"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/domains/{domain}/versions": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        /** List the versions of a domain, newest last. */
        get: operations["listVersions"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/domains/{domain}/versions/{version}": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
                /** @example 8a6f1b6f3a0c */
                version: components["schemas"]["VersionPrefix"];
            };
            cookie?: never;
        };
        get?: never;
        put?: never;
        post?: never;
        /** Delete a version that is not active. */
        delete: operations["deleteVersion"];
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/domains/{domain}/activate": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        get?: never;
        put?: never;
        /** Switch a domain to one of its versions. */
        post: operations["activateVersion"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/domains/{domain}/pack": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        /** Download a pack. */
        get: operations["getPack"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/family": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** The first family served, and its live memory account. */
        get: operations["getFamily"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/families": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** All families served, with their memory accounts and that of all together. */
        get: operations["listFamilies"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v1/families/{family}": {
        parameters: {
            query?: never;
            header?: never;
            path: {
                /**
                 * @description The name of a family.
                 * @example resnet26-half
                 */
                family: string;
            };
            cookie?: never;
        };
        /** One family, and its live memory account. */
        get: operations["getFamilyByName"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Name, version and extensions of the server. */
        get: operations["getServerMetadata"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/health/live": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Liveness. */
        get: operations["getServerLive"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/health/ready": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Readiness, as /readyz. */
        get: operations["getServerReady"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/models/{model}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Inputs, outputs and versions of a model.
         * @description Of the version that the path names, or of the active one.
         */
        get: operations["getModelMetadata"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/models/{model}/config": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Configuration of a model.
         * @description The model configuration extension.
         */
        get: operations["getModelConfig"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/models/{model}/stats": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Statistics of a model.
         * @description The statistics extension. Requests of both planes are counted.
         */
        get: operations["getModelStatistics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/models/stats": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Statistics of all models that were asked.
         * @description The statistics extension. Requests of both planes are counted.
         */
        get: operations["getAllStatistics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/models/{model}/ready": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Whether a model can be asked.
         * @description A model that is not resident is ready: it is loaded when it is asked for.
         */
        get: operations["getModelReady"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/models/{model}/infer": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Scores or features of images.
         * @description The body is an inference request in JSON, one whose data follows as binary data (`Inference-Header-Content-Length`), or
         *     the bytes of one image. docs/oip.md says what the pixels mean.
         */
        post: operations["inferModel"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/models/{model}/versions/{version}": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Inputs, outputs and versions of a model.
         * @description Of the version that the path names, or of the active one.
         */
        get: operations["getModelVersionMetadata"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/models/{model}/versions/{version}/config": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Configuration of a model.
         * @description The model configuration extension.
         */
        get: operations["getModelVersionConfig"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/models/{model}/versions/{version}/stats": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Statistics of a model.
         * @description The statistics extension. Requests of both planes are counted.
         */
        get: operations["getModelVersionStatistics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/models/{model}/versions/{version}/ready": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Whether a model can be asked.
         * @description A model that is not resident is ready: it is loaded when it is asked for.
         */
        get: operations["getModelVersionReady"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/models/{model}/versions/{version}/infer": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Scores or features of images.
         * @description The body is an inference request in JSON, one whose data follows as binary data (`Inference-Header-Content-Length`), or
         *     the bytes of one image. docs/oip.md says what the pixels mean.
         */
        post: operations["inferModelVersion"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/repository/index": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * All models.
         * @description The model repository extension. Two models for each domain: its classifier, where it has one, and its features.
         */
        post: operations["listModels"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/repository/models/{model}/load": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Register a pack, or serve a domain again
         * @description With a file (a parameter whose name begins with `file:`, the pack in base64) the pack is registered and active, as by PUT.
         *     Without one the domain's active version is loaded; where none is active, its newest version becomes active.
         */
        post: operations["loadModel"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/v2/repository/models/{model}/unload": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        get?: never;
        put?: never;
        /**
         * Stop serving a domain.
         * @description No version of the domain is active afterwards; all are kept, and can be asked for by their names.
         */
        post: operations["unloadModel"];
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/metrics": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * Metrics for Prometheus.
         * @description Open, unless a principal of the token file has the scope `metrics`.
         */
        get: operations["getMetrics"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/livez": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Liveness, the process answers requests. */
        get: operations["getLive"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/readyz": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** Readiness, the service accepts work; checked with a real forward pass. */
        get: operations["getReady"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/docs": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** This document as a page for browsers, with Swagger UI; it asks no other site. */
        get: operations["getDocs"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/openapi.yaml": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** This document. */
        get: operations["getOpenApi"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/openapi.json": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /** This document as JSON. */
        get: operations["getOpenApiJson"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
    "/": {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        /**
         * What is served, with links to the rest.
         * @description A client whose Accept names text/html, as browsers do, gets the dashboard instead.
         */
        get: operations["getIndex"];
        put?: never;
        post?: never;
        delete?: never;
        options?: never;
        head?: never;
        patch?: never;
        trace?: never;
    };
}
export type webhooks = Record<string, never>;
export interface components {
    schemas: {
        ModelStatistics: {
            model_stats: components["schemas"]["ModelVersionStatistics"][];
        };
        ModelVersionStatistics: {
            name: string;
            version: components["schemas"]["Version"];
            /** @description Milliseconds since 1970; 0 for none. */
            last_inference: number;
            /** @description Images that were answered. */
            inference_count: number;
            /** @description Runs that had images of it. */
            execution_count: number;
            inference_stats: components["schemas"]["ModelDurations"];
        };
        /** @description Of requests, from their admission. */
        ModelDurations: {
            success: components["schemas"]["ModelDuration"];
            fail: components["schemas"]["ModelDuration"];
            queue: components["schemas"]["ModelDuration"];
            compute_input: components["schemas"]["ModelDuration"];
            compute_infer: components["schemas"]["ModelDuration"];
        };
        ModelDuration: {
            count: number;
            /** @description Nanoseconds of all together. */
            ns: number;
        };
        ModelIndex: {
            name: string;
            /** @description The active version; empty where there is none. */
            version: string;
            /** @enum {unknown} */
            state: "READY" | "UNAVAILABLE";
            reason: string;
        }[];
        InferenceResponse: {
            model_name: string;
            model_version: components["schemas"]["Version"];
            /** @description As in the request. */
            id?: string;
            outputs: {
                /** @enum {unknown} */
                name: "scores" | "features";
                /** @enum {unknown} */
                datatype: "FP32" | "BYTES";
                shape: number[];
                parameters?: {
                    binary_data_size?: number;
                };
                /** @description Of all images, one after the other. Left out where it follows as binary data. */
                data?: (number | string)[];
            }[];
        };
        ModelConfig: {
            name: string;
            platform: string;
            max_batch_size: number;
            input: {
                name: string;
                data_type: string;
                format: string;
                dims: number[];
            }[];
            output: {
                name: string;
                data_type: string;
                dims: number[];
            }[];
            parameters: {
                [key: string]: unknown;
            };
        };
        ModelMetadata: {
            name: string;
            /** @description Those that can be asked for, the active one first. */
            versions: components["schemas"]["Version"][];
            platform: string;
            inputs: {
                name: string;
                datatype: string;
                /** @description A dimension of -1 is the number of images. */
                shape: number[];
            }[];
            outputs: {
                name: string;
                datatype: string;
                /** @description A dimension of -1 is the number of images. */
                shape: number[];
            }[];
        };
        ModelError: {
            error: string;
        };
        DomainId: string;
        /** @description SHA-256 of a pack's bytes. */
        Version: string;
        /** @description A version, or its first 6 or more hex digits if only one version begins with them. */
        VersionPrefix: string;
        TopK: number;
        /**
         * @example "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f"
         * @example *
         */
        EntityTags: string;
        /**
         * Format: binary
         * @description The bytes of one image.
         */
        ImageBytes: string;
        /**
         * Format: binary
         * @description The pack, a safetensors file.
         */
        PackBytes: string;
        /** @description In the standard or the URL alphabet, padded or not, on one line or many, with or without the prefix of a `data:` URL. */
        ImageBase64: string;
        ImageList: {
            images: components["schemas"]["ImageBase64"][];
        };
        /**
         * @description Any number of parts, each of them an image; their names are ignored. A field without a file name and called `top_k`
         *     or `version` is the parameter, which the query may give instead.
         */
        ImageForm: {
            top_k?: components["schemas"]["TopK"];
            version?: components["schemas"]["VersionPrefix"];
        } & {
            [key: string]: components["schemas"]["ImageBytes"];
        };
        /**
         * @description Part names are domain ids; a name may repeat. A field without a file name and called `top_k` is the parameter,
         *     unless there is such a domain.
         */
        MixedForm: {
            top_k?: components["schemas"]["TopK"];
        } & {
            [key: string]: components["schemas"]["ImageBytes"];
        };
        /** @description As `ImageForm`, without `top_k`. */
        ImageFormToEmbed: {
            version?: components["schemas"]["VersionPrefix"];
        } & {
            [key: string]: components["schemas"]["ImageBytes"];
        };
        Prediction: {
            label: string;
            index: number;
            score: number;
        };
        PredictionResult: {
            domain: components["schemas"]["DomainId"];
            version: components["schemas"]["Version"];
            /** @description Best first. */
            predictions: components["schemas"]["Prediction"][];
        };
        Predictions: {
            results: components["schemas"]["PredictionResult"][];
        };
        Embedding: {
            domain: components["schemas"]["DomainId"];
            version: components["schemas"]["Version"];
            features: number[];
        };
        Embeddings: {
            results: components["schemas"]["Embedding"][];
        };
        /**
         * @description `resident`: in the bank. `cold`: in the store, loaded on demand. `loading`: being loaded. `failed`: the
         *     pack cannot be read. `inactive`: the domain has no active version.
         * @enum {string}
         */
        Residency: "resident" | "cold" | "loading" | "failed" | "inactive";
        PackForm: {
            pack: components["schemas"]["PackBytes"];
        };
        DomainChange: {
            pinned: boolean;
        };
        Activation: {
            version: components["schemas"]["VersionPrefix"];
        };
        /** @description Of the active version's file, and of its row of the bank and its head (0 where it is not resident). */
        DomainBytes: {
            pack: number;
            resident: number;
        };
        DomainSummary: {
            domain: components["schemas"]["DomainId"];
            /** @description The active version, or null. */
            version: components["schemas"]["Version"] | null;
            residency: components["schemas"]["Residency"];
            /** @description Why the pack cannot be read. */
            failure?: string;
            pinned: boolean;
            /** @description True if the active version was shipped with the service. */
            seed: boolean;
            bytes: components["schemas"]["DomainBytes"];
            /** @description Name of the family that the active version is of; null where that is not served, or nothing is active. */
            family: string | null;
            design: string | null;
            classes: number;
            /** Format: date-time */
            updated: string | null;
        };
        ListedDomain: components["schemas"]["DomainSummary"] & {
            version_count: number;
        };
        DomainList: {
            domains: components["schemas"]["ListedDomain"][];
            next_cursor: string | null;
        };
        VersionRecord: {
            version: components["schemas"]["Version"];
            bytes: number;
            /** @description When the version was registered here. For a shipped pack, the time that the pack itself gives, if any. */
            created: string;
            /** @description Name of its family; null where that is not served. */
            family: string | null;
            design: string;
            classes: number;
            /**
             * @description What the pack has of an adapter itself, and so what its row of the bank takes: nothing (the base's adapter and
             *     its own head), scales, biases and the input's normalisation (with the base's matrices), or everything. Not
             *     given where an older service registered it.
             * @enum {string}
             */
            adapter?: "none" | "affine" | "whole";
            /**
             * @description The type of the head's weights, in the pack and in memory; as `adapter`.
             * @enum {string}
             */
            head?: "f16" | "f32";
            seed?: boolean;
            active: boolean;
            residency: components["schemas"]["Residency"];
        };
        VersionList: {
            domain: components["schemas"]["DomainId"];
            version: string | null;
            versions: components["schemas"]["VersionRecord"][];
        };
        Domain: components["schemas"]["DomainSummary"] & {
            versions: components["schemas"]["VersionRecord"][];
        };
        DomainDetails: components["schemas"]["DomainSummary"] & {
            versions: components["schemas"]["VersionRecord"][];
            /** @description What the active pack says of itself; null where nothing is active, or the pack cannot be read. */
            card: components["schemas"]["Card"] | null;
        };
        /** @description What a pack says of itself. All texts are those of whoever made the pack. */
        Card: {
            name: string | null;
            description: string | null;
            license: string | null;
            created: string | null;
            /**
             * @description `softmax`: one label an image, and scores sum to 1. `sigmoid`: several labels an image.
             * @enum {string}
             */
            activation: "softmax" | "sigmoid";
            /** @description In the order of `index`; null for a pack that gives features alone. */
            labels: string[] | null;
            /** @description Figures of the training run, in the pack's own words. */
            metrics: {
                [key: string]: unknown;
            } | null;
            /** @description What becomes of an image before it reaches the trunk; null where the pack's family is not served. */
            input: components["schemas"]["FamilyInput"] | null;
        };
        Uploaded: components["schemas"]["DomainSummary"] & {
            versions: components["schemas"]["VersionRecord"][];
            /** @description The version of the pack that was sent, or of what it was projected to. */
            uploaded: components["schemas"]["Version"];
            /** @description Where the pack had whole matrices, or factors of its own, and its family is a compressed one: the pack was projected on the family's bases, and that is what is stored. Absent otherwise. */
            projection?: components["schemas"]["Projection"];
        };
        Projection: {
            /** @description The slots that had a matrix, in forward order. */
            slots: components["schemas"]["ProjectedSlot"][];
        };
        ProjectedSlot: {
            slot: string;
            /** @description Share of the matrix's output that is lost (root of energies), on inputs such as the family was compressed with. */
            error: number;
        };
        FamilyInput: {
            height: number;
            width: number;
            /** @description The shorter side is resized to this, then the centre is cropped. */
            resize: number;
            kernel: string;
            mean: number[];
            std: number[];
        };
        Execution: {
            /**
             * @example cpu
             * @example cuda:0
             */
            provider: string;
            /**
             * @description What runs the trunk. With `native` all lanes share it, with `stock` each has its own.
             * @enum {string}
             */
            runtime: "native" | "stock";
            /**
             * @description What the trunk computes with (`--precision`); `int8` is of its frozen convolutions.
             * @enum {string}
             */
            precision: "fp32" | "fp16" | "int8";
            /** @description Number of parallel runs. */
            lanes: number;
            max_batch: number;
            /** @enum {string} */
            bank_dtype: "f32" | "f16";
        };
        /** @description Dedicated networks in use for the versions with the most traffic, and their bytes. */
        Specialised: {
            networks: number;
            bytes: number;
        };
        BankRows: {
            used: number;
            capacity: number;
        };
        BankUse: {
            used_bytes: number;
            capacity_bytes: number;
        };
        /**
         * @description The bytes that are resident (the trunk once per session, adapters and heads once, and the dedicated networks
         *     of `--specialise-memory`), the bytes that dedicated networks for the same domains would take with weights of
         *     the same precision, and the ratio
         *     `dedicated_bytes / (trunk_bytes + adapter_bytes + head_bytes + specialised.bytes)`.
         */
        FamilyMemory: {
            trunk_bytes: number;
            adapter_bytes: number;
            head_bytes: number;
            specialised: components["schemas"]["Specialised"];
            rows: components["schemas"]["BankRows"];
            dedicated_bytes: number;
            saving: number;
            /**
             * @description Where `saving` is below 1, and only there: why the family takes more than dedicated networks would,
             *     and from how many resident domains on it does not.
             */
            note?: string;
        };
        /**
         * @description The sums over all families, the bytes of adapters and heads in the bank that they share
         *     (`--bank-memory`), and the ratio of the sums.
         */
        TotalMemory: {
            trunk_bytes: number;
            adapter_bytes: number;
            head_bytes: number;
            specialised: components["schemas"]["Specialised"];
            bank: components["schemas"]["BankUse"];
            dedicated_bytes: number;
            saving: number;
        };
        /** @description A place in the trunk that a domain may adapt (docs/pack-format.md). */
        Slot: {
            name: string;
            /** @enum {string} */
            kind: "conv" | "pointwise" | "depthwise" | "linear" | "norm";
            in: number;
            out: number;
            kernel: number[];
            stride: number[];
            columns: number;
            rank?: number;
            basis?: number;
            relative?: boolean;
        };
        FamilyParameters: {
            trunk: number;
            adapter: number;
            head: number;
        };
        Provenance: {
            source: string;
            created: string;
            tool: string;
        } & {
            [key: string]: unknown;
        };
        FamilySummary: {
            name: string;
            fingerprint: string;
            /** @enum {string} */
            design: "feature" | "bn" | "series" | "parallel";
            input: components["schemas"]["FamilyInput"];
            features: number;
            execution: components["schemas"]["Execution"];
            memory: components["schemas"]["FamilyMemory"];
        };
        ListedFamily: components["schemas"]["FamilySummary"];
        Family: components["schemas"]["FamilySummary"] & {
            slots: components["schemas"]["Slot"][];
            parameters: components["schemas"]["FamilyParameters"];
            /** @description Size of each of the family's files. */
            bytes: {
                [key: string]: number;
            };
            license: string;
            provenance: components["schemas"]["Provenance"];
        };
        Families: {
            /** @description The first family first. */
            families: components["schemas"]["ListedFamily"][];
            memory: components["schemas"]["TotalMemory"];
        };
        Live: {
            /** @constant */
            status: "live";
        };
        Ready: {
            /** @constant */
            status: "ready";
        };
        Index: {
            /** @constant */
            service: "facet";
            version: string;
            /** @description The first family. */
            family: string;
            families: string[];
            links: {
                [key: string]: string;
            };
        };
        /** @description RFC 9457. */
        Problem: {
            type: string;
            title: string;
            status: number;
            detail: string;
            code: components["schemas"]["ErrorCode"];
            request_id: string;
            /** @description Everything that is wrong with the input. */
            problems?: string[];
            /** @description Position of the image in the request. */
            index?: number;
        };
        /** @enum {string} */
        ErrorCode: "malformed_request" | "empty_body" | "bad_domain_id" | "bad_parameter" | "unauthorized" | "forbidden" | "control_plane_off" | "not_found" | "unknown_domain" | "unknown_family" | "unknown_version" | "no_active_version" | "method_not_allowed" | "request_timeout" | "base_immutable" | "seed_immutable" | "ambiguous_version" | "version_active" | "pins_exceed_memory" | "no_head" | "precondition_failed" | "body_too_large" | "image_too_large" | "too_many_parts" | "unsupported_media_type" | "expectation_failed" | "undecodable_image" | "invalid_pack" | "queue_full" | "rate_limited" | "too_many_bodies" | "too_many_uploads" | "too_many_connections" | "headers_too_large" | "client_closed" | "internal" | "inference_failed" | "store_failed" | "decoder_unavailable" | "draining" | "engine_restarting" | "bank_full" | "load_timeout" | "store_problems" | "domain_failed" | "deadline_exceeded" | "store_full";
    };
    responses: {
        /** @description What is wrong, in words. The statuses are those of the errors of `/v1`. */
        ModelFailure: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "error": "There is no domain \"eurosta\"; did you mean 'eurosat'? GET /v1/domains lists them."
                 *     }
                 */
                "application/json": components["schemas"]["ModelError"];
            };
        };
        /** @description The domain after the change. */
        Domain: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                ETag: components["headers"]["ETag"];
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "domain": "eurosat",
                 *       "version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                 *       "versions": [
                 *         {
                 *           "version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                 *           "bytes": 340252,
                 *           "created": "2026-11-22",
                 *           "family": "resnet26-half",
                 *           "design": "parallel",
                 *           "classes": 10,
                 *           "adapter": "whole",
                 *           "head": "f16",
                 *           "seed": true,
                 *           "active": true,
                 *           "residency": "resident"
                 *         }
                 *       ],
                 *       "residency": "resident",
                 *       "pinned": false,
                 *       "seed": true,
                 *       "bytes": {
                 *         "pack": 340252,
                 *         "resident": 665420
                 *       },
                 *       "family": "resnet26-half",
                 *       "design": "parallel",
                 *       "classes": 10,
                 *       "updated": null
                 *     }
                 */
                "application/json": components["schemas"]["Domain"];
            };
        };
        /** @description `malformed_request`, `empty_body`, `bad_domain_id` or `bad_parameter`. */
        BadRequest: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `unauthorized`: the token is missing or wrong. */
        Unauthorized: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                "WWW-Authenticate": components["headers"]["WWW-Authenticate"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `forbidden`: the token lacks the scope or the domain. `control_plane_off`: the service has no admin token, and the request is not local. */
        Forbidden: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `unknown_domain`, `unknown_version` or `no_active_version`. The base domain never answers in place of another. */
        NotFound: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `unknown_family`. */
        UnknownFamily: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `method_not_allowed`: this path has other methods, which `Allow` lists. */
        MethodNotAllowed: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                Allow: components["headers"]["Allow"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `headers_too_large`: all header fields together have too many bytes. The connection is closed. */
        HeadersTooLarge: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `request_timeout`: the request did not arrive in time, or its body came too slowly. The connection is closed. */
        RequestTimeout: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `no_head`, `base_immutable`, `seed_immutable`, `ambiguous_version`, `version_active` or `pins_exceed_memory`. */
        Conflict: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `precondition_failed`: `If-Match` or `If-None-Match` does not hold. */
        PreconditionFailed: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `body_too_large`, `image_too_large` or `too_many_parts`. */
        TooLarge: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `unsupported_media_type`: the type of the body or of an image is not supported, or the body is compressed. The detail names the supported types. */
        UnsupportedMediaType: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `undecodable_image`: an image is truncated or damaged, or of a kind that is not read (floating-point TIFF, 12-bit JPEG); the detail names what was found and what is read. `index` says which image. */
        UndecodableImage: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `invalid_pack`; `problems` lists everything that is wrong with the pack. */
        InvalidPack: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `expectation_failed`: of the field `Expect`, only `100-continue` is understood. It is answered when the body is about to be read; a request that is refused by its header is answered without. */
        ExpectationFailed: {
            headers: {
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `queue_full`, `rate_limited`, `too_many_bodies`, `too_many_uploads` or `too_many_connections`. The last one closes the connection; the others come only where the route takes a body. */
        TooMany: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                "Retry-After": components["headers"]["Retry-After"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `internal`, `inference_failed` or `store_failed`. The log has the cause under the request id. Where a pack overflows for an image (`index`), `inference_failed` names domain and version: another pack must be registered for it. */
        InternalError: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `decoder_unavailable`, `draining`, `engine_restarting`, `bank_full`, `load_timeout` or `domain_failed`; from `/readyz` also `store_problems` (`--strict-store`). */
        Unavailable: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                "Retry-After": components["headers"]["Retry-After"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `deadline_exceeded`: the request's time ended before its answer came. */
        DeadlineExceeded: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description `store_full`: the disk or the store's quota is full. */
        StoreFull: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                [name: string]: unknown;
            };
            content: {
                "application/problem+json": components["schemas"]["Problem"];
            };
        };
        /** @description The service or the model takes no work now. */
        ModelUnavailable: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                "Retry-After": components["headers"]["Retry-After"];
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "error": "There is no domain \"eurosta\"; did you mean 'eurosat'? GET /v1/domains lists them."
                 *     }
                 */
                "application/json": components["schemas"]["ModelError"];
            };
        };
        /** @description Too much at once; the text says of what. */
        ModelTooMany: {
            headers: {
                "X-Request-Id": components["headers"]["X-Request-Id"];
                "Retry-After": components["headers"]["Retry-After"];
                [name: string]: unknown;
            };
            content: {
                /**
                 * @example {
                 *       "error": "There is no domain \"eurosta\"; did you mean 'eurosat'? GET /v1/domains lists them."
                 *     }
                 */
                "application/json": components["schemas"]["ModelError"];
            };
        };
    };
    parameters: {
        /** @description Bytes of the JSON at the beginning of a body with binary data; 0 where the body is an image and nothing else. */
        InferenceHeaderLength: number;
        ModelVersion: components["schemas"]["VersionPrefix"];
        /** @description A domain, for its classifier; with `:features` behind it, for its features. */
        Model: string;
        /** @example eurosat */
        Domain: components["schemas"]["DomainId"];
        /**
         * @description Number of predictions for each image, best first. If the domain has fewer classes, all are given. A form may give it
         *     as a field instead.
         * @example 3
         */
        TopK: components["schemas"]["TopK"];
        /**
         * @description A version to use in place of the active one. It may be one that was registered without activating it. A form may
         *     give it as a field instead.
         */
        Version: components["schemas"]["VersionPrefix"];
        /**
         * @description Milliseconds from the arrival of the request's header to its answer. The service has a longest time of
         *     its own, to which a longer one is cut. A request that takes longer is answered 504, and its images that
         *     are not in a run yet are dropped. A request that is in a run at that moment has 50 ms more: if its answer
         *     comes within them, it is still sent.
         * @example 10000
         */
        RequestTimeout: number;
        /**
         * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
         * @example order-4711
         */
        RequestId: string;
        /** @description A list of entity tags, one of which must be that of the active version; or `*`, for any domain that exists. */
        IfMatch: components["schemas"]["EntityTags"];
        /** @description A list of entity tags, none of which may be that of the active version; or `*`, for a domain that must not exist. */
        IfNoneMatch: components["schemas"]["EntityTags"];
    };
    requestBodies: {
        Inference: {
            content: {
                /**
                 * @example {
                 *       "inputs": [
                 *         {
                 *           "name": "image",
                 *           "datatype": "BYTES",
                 *           "shape": [
                 *             1
                 *           ],
                 *           "data": [
                 *             "/9j/4AAQSkZJRgABAQAAAQABAAD/2w=="
                 *           ]
                 *         }
                 *       ],
                 *       "outputs": [
                 *         {
                 *           "name": "scores",
                 *           "parameters": {
                 *             "classification": 3
                 *           }
                 *         }
                 *       ]
                 *     }
                 */
                "application/json": {
                    id?: string | null;
                    parameters?: {
                        binary_data_output?: boolean;
                        /** @description Microseconds that the request may take; 0 for no bound of its own. */
                        timeout?: number;
                    } | null;
                    inputs: {
                        /** @constant */
                        name: "image";
                        /** @enum {unknown} */
                        datatype: "BYTES" | "UINT8" | "FP32";
                        /** @description `[N]` for BYTES; `[N, H, W, 3]` or `[N, 3, H, W]` for pixels, of the size that the metadata gives. */
                        shape: number[];
                        parameters?: {
                            binary_data_size?: number;
                        } | null;
                        /** @description Image files in base64, or the numbers of the pixels, from 0 to 255, flat or nested. Left out where it follows as binary data. */
                        data?: unknown[];
                    }[];
                    outputs?: {
                        /** @enum {unknown} */
                        name: "scores" | "features";
                        parameters?: {
                            binary_data?: boolean;
                            /** @description So many best classes as `score:index:label` in place of the scores. */
                            classification?: number;
                        } | null;
                    }[] | null;
                };
                "application/octet-stream": unknown;
                "image/*": unknown;
            };
        };
        Images: {
            content: {
                "application/octet-stream": components["schemas"]["ImageBytes"];
                "image/*": components["schemas"]["ImageBytes"];
                "multipart/form-data": components["schemas"]["ImageForm"];
                /**
                 * @example {
                 *       "images": [
                 *         "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAEElEQVR42mPQqLCBIwbiOABkgw3Bf0DFnAAAAABJRU5ErkJggg=="
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["ImageList"];
            };
        };
        ImagesToEmbed: {
            content: {
                "application/octet-stream": components["schemas"]["ImageBytes"];
                "image/*": components["schemas"]["ImageBytes"];
                "multipart/form-data": components["schemas"]["ImageFormToEmbed"];
                /**
                 * @example {
                 *       "images": [
                 *         "iVBORw0KGgoAAAANSUhEUgAAAAQAAAAECAIAAAAmkwkpAAAAEElEQVR42mPQqLCBIwbiOABkgw3Bf0DFnAAAAABJRU5ErkJggg=="
                 *       ]
                 *     }
                 */
                "application/json": components["schemas"]["ImageList"];
            };
        };
    };
    headers: {
        /** @description The request's id, which the logs show too. */
        "X-Request-Id": string;
        /** @description Milliseconds spent in decoding, in the queue and in the run. Each is the longest of the request's images. */
        "Server-Timing": string;
        /** @description The SHA-256 of the active pack, in quotes. */
        ETag: string;
        /** @description The methods that this path has. */
        Allow: string;
        /** @description Seconds after which to try again. */
        "Retry-After": number;
        "WWW-Authenticate": string;
    };
    pathItems: never;
}
export type $defs = Record<string, never>;
export interface operations {
    predict: {
        parameters: {
            query?: {
                /**
                 * @description Number of predictions for each image, best first. If the domain has fewer classes, all are given. A form may give it
                 *     as a field instead.
                 * @example 3
                 */
                top_k?: components["parameters"]["TopK"];
                /**
                 * @description A version to use in place of the active one. It may be one that was registered without activating it. A form may
                 *     give it as a field instead.
                 */
                version?: components["parameters"]["Version"];
            };
            header?: {
                /**
                 * @description Milliseconds from the arrival of the request's header to its answer. The service has a longest time of
                 *     its own, to which a longer one is cut. A request that takes longer is answered 504, and its images that
                 *     are not in a run yet are dropped. A request that is in a run at that moment has 50 ms more: if its answer
                 *     comes within them, it is still sent.
                 * @example 10000
                 */
                "X-Request-Timeout"?: components["parameters"]["RequestTimeout"];
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        requestBody: components["requestBodies"]["Images"];
        responses: {
            /** @description One result for each image, in order. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    "Server-Timing": components["headers"]["Server-Timing"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "results": [
                     *         {
                     *           "domain": "eurosat",
                     *           "version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                     *           "predictions": [
                     *             {
                     *               "label": "Forest",
                     *               "index": 1,
                     *               "score": 0.913200021
                     *             },
                     *             {
                     *               "label": "Pasture",
                     *               "index": 5,
                     *               "score": 0.0512000024
                     *             }
                     *           ]
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["Predictions"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            408: components["responses"]["RequestTimeout"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            417: components["responses"]["ExpectationFailed"];
            422: components["responses"]["UndecodableImage"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            504: components["responses"]["DeadlineExceeded"];
        };
    };
    embed: {
        parameters: {
            query?: {
                /**
                 * @description A version to use in place of the active one. It may be one that was registered without activating it. A form may
                 *     give it as a field instead.
                 */
                version?: components["parameters"]["Version"];
            };
            header?: {
                /**
                 * @description Milliseconds from the arrival of the request's header to its answer. The service has a longest time of
                 *     its own, to which a longer one is cut. A request that takes longer is answered 504, and its images that
                 *     are not in a run yet are dropped. A request that is in a run at that moment has 50 ms more: if its answer
                 *     comes within them, it is still sent.
                 * @example 10000
                 */
                "X-Request-Timeout"?: components["parameters"]["RequestTimeout"];
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        requestBody: components["requestBodies"]["ImagesToEmbed"];
        responses: {
            /** @description One feature vector for each image, in order. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    "Server-Timing": components["headers"]["Server-Timing"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "results": [
                     *         {
                     *           "domain": "eurosat",
                     *           "version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                     *           "features": [
                     *             0.123456791,
                     *             0,
                     *             2.5
                     *           ]
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["Embeddings"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            408: components["responses"]["RequestTimeout"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            417: components["responses"]["ExpectationFailed"];
            422: components["responses"]["UndecodableImage"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            504: components["responses"]["DeadlineExceeded"];
        };
    };
    predictMixed: {
        parameters: {
            query?: {
                /**
                 * @description Number of predictions for each image, best first. If the domain has fewer classes, all are given. A form may give it
                 *     as a field instead.
                 * @example 3
                 */
                top_k?: components["parameters"]["TopK"];
            };
            header?: {
                /**
                 * @description Milliseconds from the arrival of the request's header to its answer. The service has a longest time of
                 *     its own, to which a longer one is cut. A request that takes longer is answered 504, and its images that
                 *     are not in a run yet are dropped. A request that is in a run at that moment has 50 ms more: if its answer
                 *     comes within them, it is still sent.
                 * @example 10000
                 */
                "X-Request-Timeout"?: components["parameters"]["RequestTimeout"];
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody: {
            content: {
                "multipart/form-data": components["schemas"]["MixedForm"];
            };
        };
        responses: {
            /** @description One result for each part, in order. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    "Server-Timing": components["headers"]["Server-Timing"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "results": [
                     *         {
                     *           "domain": "eurosat",
                     *           "version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                     *           "predictions": [
                     *             {
                     *               "label": "Forest",
                     *               "index": 1,
                     *               "score": 0.913200021
                     *             },
                     *             {
                     *               "label": "Pasture",
                     *               "index": 5,
                     *               "score": 0.0512000024
                     *             }
                     *           ]
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["Predictions"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            408: components["responses"]["RequestTimeout"];
            409: components["responses"]["Conflict"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            417: components["responses"]["ExpectationFailed"];
            422: components["responses"]["UndecodableImage"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            504: components["responses"]["DeadlineExceeded"];
        };
    };
    listDomains: {
        parameters: {
            query?: {
                /** @description Number of domains in a page. */
                limit?: number;
                /** @description The `next_cursor` of the previous page. */
                cursor?: components["schemas"]["DomainId"];
            };
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description A page of domains. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "domains": [
                     *         {
                     *           "domain": "eurosat",
                     *           "version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                     *           "residency": "resident",
                     *           "pinned": false,
                     *           "seed": true,
                     *           "bytes": {
                     *             "pack": 1331232,
                     *             "resident": 2662400
                     *           },
                     *           "family": "resnet26-half",
                     *           "design": "parallel",
                     *           "classes": 10,
                     *           "updated": null,
                     *           "version_count": 1
                     *         }
                     *       ],
                     *       "next_cursor": null
                     *     }
                     */
                    "application/json": components["schemas"]["DomainList"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            405: components["responses"]["MethodNotAllowed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
        };
    };
    getDomain: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The domain. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "domain": "eurosat",
                     *       "version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                     *       "versions": [
                     *         {
                     *           "version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                     *           "bytes": 340252,
                     *           "created": "2026-11-22",
                     *           "family": "resnet26-half",
                     *           "design": "parallel",
                     *           "classes": 10,
                     *           "adapter": "whole",
                     *           "head": "f16",
                     *           "seed": true,
                     *           "active": true,
                     *           "residency": "resident"
                     *         }
                     *       ],
                     *       "residency": "resident",
                     *       "pinned": false,
                     *       "seed": true,
                     *       "bytes": {
                     *         "pack": 340252,
                     *         "resident": 665420
                     *       },
                     *       "family": "resnet26-half",
                     *       "design": "parallel",
                     *       "classes": 10,
                     *       "updated": null,
                     *       "card": {
                     *         "name": "Land use, satellite",
                     *         "description": "Satellite land use (EuroSAT, RGB)",
                     *         "license": "MIT",
                     *         "created": "2026-11-22",
                     *         "activation": "softmax",
                     *         "labels": [
                     *           "AnnualCrop",
                     *           "Forest",
                     *           "HerbaceousVegetation"
                     *         ],
                     *         "metrics": {
                     *           "accuracy": 95.35,
                     *           "test_images": 4000
                     *         },
                     *         "input": {
                     *           "height": 64,
                     *           "width": 64,
                     *           "resize": 72,
                     *           "kernel": "linear",
                     *           "mean": [
                     *             0.3415,
                     *             0.4106,
                     *             0.4126
                     *           ],
                     *           "std": [
                     *             0.195,
                     *             0.134,
                     *             0.1139
                     *           ]
                     *         }
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["DomainDetails"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
        };
    };
    putDomain: {
        parameters: {
            query?: {
                /** @description False registers the version without activating it. It serves requests that name it by `version`, and others once it is activated. */
                activate?: boolean;
            };
            header?: {
                /** @description A list of entity tags, one of which must be that of the active version; or `*`, for any domain that exists. */
                "If-Match"?: components["parameters"]["IfMatch"];
                /** @description A list of entity tags, none of which may be that of the active version; or `*`, for a domain that must not exist. */
                "If-None-Match"?: components["parameters"]["IfNoneMatch"];
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                "application/octet-stream": components["schemas"]["PackBytes"];
                "multipart/form-data": components["schemas"]["PackForm"];
            };
        };
        responses: {
            /** @description A version of a domain that existed before. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    /** @description Path of the domain. */
                    Location?: string;
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "domain": "eurosat",
                     *       "version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                     *       "versions": [
                     *         {
                     *           "version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                     *           "bytes": 340252,
                     *           "created": "2026-11-22",
                     *           "family": "resnet26-half",
                     *           "design": "parallel",
                     *           "classes": 10,
                     *           "adapter": "whole",
                     *           "head": "f16",
                     *           "seed": true,
                     *           "active": true,
                     *           "residency": "resident"
                     *         }
                     *       ],
                     *       "residency": "resident",
                     *       "pinned": false,
                     *       "seed": true,
                     *       "bytes": {
                     *         "pack": 340252,
                     *         "resident": 665420
                     *       },
                     *       "family": "resnet26-half",
                     *       "design": "parallel",
                     *       "classes": 10,
                     *       "updated": null,
                     *       "uploaded": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f"
                     *     }
                     */
                    "application/json": components["schemas"]["Uploaded"];
                };
            };
            /** @description A new domain. */
            201: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    /** @description Path of the domain. */
                    Location?: string;
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "domain": "eurosat",
                     *       "version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                     *       "versions": [
                     *         {
                     *           "version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                     *           "bytes": 340252,
                     *           "created": "2026-11-22",
                     *           "family": "resnet26-half",
                     *           "design": "parallel",
                     *           "classes": 10,
                     *           "adapter": "whole",
                     *           "head": "f16",
                     *           "seed": true,
                     *           "active": true,
                     *           "residency": "resident"
                     *         }
                     *       ],
                     *       "residency": "resident",
                     *       "pinned": false,
                     *       "seed": true,
                     *       "bytes": {
                     *         "pack": 340252,
                     *         "resident": 665420
                     *       },
                     *       "family": "resnet26-half",
                     *       "design": "parallel",
                     *       "classes": 10,
                     *       "updated": null,
                     *       "uploaded": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f"
                     *     }
                     */
                    "application/json": components["schemas"]["Uploaded"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            405: components["responses"]["MethodNotAllowed"];
            408: components["responses"]["RequestTimeout"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            417: components["responses"]["ExpectationFailed"];
            422: components["responses"]["InvalidPack"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            507: components["responses"]["StoreFull"];
        };
    };
    deleteDomain: {
        parameters: {
            query?: never;
            header?: {
                /** @description A list of entity tags, one of which must be that of the active version; or `*`, for any domain that exists. */
                "If-Match"?: components["parameters"]["IfMatch"];
                /** @description A list of entity tags, none of which may be that of the active version; or `*`, for a domain that must not exist. */
                "If-None-Match"?: components["parameters"]["IfNoneMatch"];
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Deleted. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            507: components["responses"]["StoreFull"];
        };
    };
    patchDomain: {
        parameters: {
            query?: never;
            header?: {
                /** @description A list of entity tags, one of which must be that of the active version; or `*`, for any domain that exists. */
                "If-Match"?: components["parameters"]["IfMatch"];
                /** @description A list of entity tags, none of which may be that of the active version; or `*`, for a domain that must not exist. */
                "If-None-Match"?: components["parameters"]["IfNoneMatch"];
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "pinned": true
                 *     }
                 */
                "application/json": components["schemas"]["DomainChange"];
            };
        };
        responses: {
            200: components["responses"]["Domain"];
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            408: components["responses"]["RequestTimeout"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            507: components["responses"]["StoreFull"];
        };
    };
    getCard: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The card. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example # Land use, satellite
                     *
                     *     Satellite land use (EuroSAT, RGB)
                     */
                    "text/markdown": string;
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
        };
    };
    listVersions: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The versions. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "domain": "eurosat",
                     *       "version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                     *       "versions": [
                     *         {
                     *           "version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                     *           "bytes": 340252,
                     *           "created": "2026-11-22",
                     *           "family": "resnet26-half",
                     *           "design": "parallel",
                     *           "classes": 10,
                     *           "active": true,
                     *           "residency": "resident"
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["VersionList"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
        };
    };
    deleteVersion: {
        parameters: {
            query?: never;
            header?: {
                /** @description A list of entity tags, one of which must be that of the active version; or `*`, for any domain that exists. */
                "If-Match"?: components["parameters"]["IfMatch"];
                /** @description A list of entity tags, none of which may be that of the active version; or `*`, for a domain that must not exist. */
                "If-None-Match"?: components["parameters"]["IfNoneMatch"];
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
                /** @example 8a6f1b6f3a0c */
                version: components["schemas"]["VersionPrefix"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Deleted. */
            204: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            507: components["responses"]["StoreFull"];
        };
    };
    activateVersion: {
        parameters: {
            query?: never;
            header?: {
                /** @description A list of entity tags, one of which must be that of the active version; or `*`, for any domain that exists. */
                "If-Match"?: components["parameters"]["IfMatch"];
                /** @description A list of entity tags, none of which may be that of the active version; or `*`, for a domain that must not exist. */
                "If-None-Match"?: components["parameters"]["IfNoneMatch"];
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        requestBody: {
            content: {
                /**
                 * @example {
                 *       "version": "8a6f1b6f3a0c"
                 *     }
                 */
                "application/json": components["schemas"]["Activation"];
            };
        };
        responses: {
            200: components["responses"]["Domain"];
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            408: components["responses"]["RequestTimeout"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            413: components["responses"]["TooLarge"];
            415: components["responses"]["UnsupportedMediaType"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
            507: components["responses"]["StoreFull"];
        };
    };
    getPack: {
        parameters: {
            query?: {
                /**
                 * @description A version to use in place of the active one. It may be one that was registered without activating it. A form may
                 *     give it as a field instead.
                 */
                version?: components["parameters"]["Version"];
            };
            header?: {
                /** @description A list of entity tags, one of which must be that of the active version; or `*`, for any domain that exists. */
                "If-Match"?: components["parameters"]["IfMatch"];
                /** @description A list of entity tags, none of which may be that of the active version; or `*`, for a domain that must not exist. */
                "If-None-Match"?: components["parameters"]["IfNoneMatch"];
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @example eurosat */
                domain: components["parameters"]["Domain"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The pack. The entity tag is the version of this pack. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    /** @description A file name made of the domain and the version. */
                    "Content-Disposition"?: string;
                    [name: string]: unknown;
                };
                content: {
                    "application/octet-stream": components["schemas"]["PackBytes"];
                };
            };
            /** @description The client already has this version. */
            304: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    ETag: components["headers"]["ETag"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["NotFound"];
            405: components["responses"]["MethodNotAllowed"];
            409: components["responses"]["Conflict"];
            412: components["responses"]["PreconditionFailed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
            503: components["responses"]["Unavailable"];
        };
    };
    getFamily: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The family. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "name": "resnet26-half",
                     *       "fingerprint": "545bc72209b3227ba3349e42c6aaf17436438a5ba213cb8454ed355cd05d84c6",
                     *       "design": "parallel",
                     *       "input": {
                     *         "height": 64,
                     *         "width": 64,
                     *         "resize": 72,
                     *         "kernel": "linear",
                     *         "mean": [
                     *           0.485,
                     *           0.456,
                     *           0.406
                     *         ],
                     *         "std": [
                     *           0.229,
                     *           0.224,
                     *           0.225
                     *         ]
                     *       },
                     *       "features": 128,
                     *       "execution": {
                     *         "provider": "cpu",
                     *         "runtime": "native",
                     *         "precision": "fp32",
                     *         "lanes": 1,
                     *         "max_batch": 1,
                     *         "bank_dtype": "f32"
                     *       },
                     *       "memory": {
                     *         "trunk_bytes": 11615616,
                     *         "adapter_bytes": 2643296,
                     *         "head_bytes": 116980,
                     *         "specialised": {
                     *           "networks": 0,
                     *           "bytes": 0
                     *         },
                     *         "rows": {
                     *           "used": 4,
                     *           "capacity": 262144
                     *         },
                     *         "dedicated_bytes": 23381236,
                     *         "saving": 1.6264198423304794
                     *       },
                     *       "slots": [
                     *         {
                     *           "name": "stem.conv",
                     *           "kind": "conv",
                     *           "in": 3,
                     *           "out": 16,
                     *           "kernel": [
                     *             3,
                     *             3
                     *           ],
                     *           "stride": [
                     *             1,
                     *             1
                     *           ],
                     *           "columns": 3
                     *         }
                     *       ],
                     *       "parameters": {
                     *         "trunk": 1450544,
                     *         "adapter": 165264,
                     *         "head": 25800
                     *       },
                     *       "bytes": {
                     *         "trunk.onnx": 5808000,
                     *         "base.safetensors": 126328
                     *       },
                     *       "license": "Apache-2.0",
                     *       "provenance": {
                     *         "source": "resnet26-half.onnx",
                     *         "created": "2026-11-20",
                     *         "tool": "facet 0.2.0"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["Family"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            405: components["responses"]["MethodNotAllowed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
        };
    };
    listFamilies: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The families. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "families": [
                     *         {
                     *           "name": "resnet26-half",
                     *           "fingerprint": "545bc72209b3227ba3349e42c6aaf17436438a5ba213cb8454ed355cd05d84c6",
                     *           "design": "parallel",
                     *           "input": {
                     *             "height": 64,
                     *             "width": 64,
                     *             "resize": 72,
                     *             "kernel": "linear",
                     *             "mean": [
                     *               0.485,
                     *               0.456,
                     *               0.406
                     *             ],
                     *             "std": [
                     *               0.229,
                     *               0.224,
                     *               0.225
                     *             ]
                     *           },
                     *           "features": 128,
                     *           "execution": {
                     *             "provider": "cpu",
                     *             "runtime": "native",
                     *             "precision": "fp32",
                     *             "lanes": 1,
                     *             "max_batch": 1,
                     *             "bank_dtype": "f32"
                     *           },
                     *           "memory": {
                     *             "trunk_bytes": 11615616,
                     *             "adapter_bytes": 2643296,
                     *             "head_bytes": 116980,
                     *             "specialised": {
                     *               "networks": 0,
                     *               "bytes": 0
                     *             },
                     *             "rows": {
                     *               "used": 4,
                     *               "capacity": 262144
                     *             },
                     *             "dedicated_bytes": 23381236,
                     *             "saving": 1.6264198423304794
                     *           }
                     *         }
                     *       ],
                     *       "memory": {
                     *         "trunk_bytes": 11615616,
                     *         "adapter_bytes": 2643296,
                     *         "head_bytes": 116980,
                     *         "specialised": {
                     *           "networks": 0,
                     *           "bytes": 0
                     *         },
                     *         "bank": {
                     *           "used_bytes": 2760276,
                     *           "capacity_bytes": 1073741824
                     *         },
                     *         "dedicated_bytes": 23381236,
                     *         "saving": 1.6264198423304794
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["Families"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            405: components["responses"]["MethodNotAllowed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
        };
    };
    getFamilyByName: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /**
                 * @description The name of a family.
                 * @example resnet26-half
                 */
                family: string;
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The family. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "name": "resnet26-half",
                     *       "fingerprint": "545bc72209b3227ba3349e42c6aaf17436438a5ba213cb8454ed355cd05d84c6",
                     *       "design": "parallel",
                     *       "input": {
                     *         "height": 64,
                     *         "width": 64,
                     *         "resize": 72,
                     *         "kernel": "linear",
                     *         "mean": [
                     *           0.485,
                     *           0.456,
                     *           0.406
                     *         ],
                     *         "std": [
                     *           0.229,
                     *           0.224,
                     *           0.225
                     *         ]
                     *       },
                     *       "features": 128,
                     *       "execution": {
                     *         "provider": "cpu",
                     *         "runtime": "native",
                     *         "precision": "fp32",
                     *         "lanes": 1,
                     *         "max_batch": 1,
                     *         "bank_dtype": "f32"
                     *       },
                     *       "memory": {
                     *         "trunk_bytes": 11615616,
                     *         "adapter_bytes": 2643296,
                     *         "head_bytes": 116980,
                     *         "specialised": {
                     *           "networks": 0,
                     *           "bytes": 0
                     *         },
                     *         "rows": {
                     *           "used": 4,
                     *           "capacity": 262144
                     *         },
                     *         "dedicated_bytes": 23381236,
                     *         "saving": 1.6264198423304794
                     *       },
                     *       "slots": [
                     *         {
                     *           "name": "stem.conv",
                     *           "kind": "conv",
                     *           "in": 3,
                     *           "out": 16,
                     *           "kernel": [
                     *             3,
                     *             3
                     *           ],
                     *           "stride": [
                     *             1,
                     *             1
                     *           ],
                     *           "columns": 3
                     *         }
                     *       ],
                     *       "parameters": {
                     *         "trunk": 1450544,
                     *         "adapter": 165264,
                     *         "head": 25800
                     *       },
                     *       "bytes": {
                     *         "trunk.onnx": 5808000,
                     *         "base.safetensors": 126328
                     *       },
                     *       "license": "Apache-2.0",
                     *       "provenance": {
                     *         "source": "resnet26-half.onnx",
                     *         "created": "2026-11-20",
                     *         "tool": "facet 0.2.0"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["Family"];
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            404: components["responses"]["UnknownFamily"];
            405: components["responses"]["MethodNotAllowed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
        };
    };
    getServerMetadata: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The server. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @constant */
                        name: "facet";
                        version: string;
                        extensions: string[];
                    };
                };
            };
            400: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
        };
    };
    getServerLive: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Alive. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @constant */
                        live: true;
                    };
                };
            };
            400: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
        };
    };
    getServerReady: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Ready. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        /** @constant */
                        ready: true;
                    };
                };
            };
            400: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
            503: components["responses"]["ModelUnavailable"];
        };
    };
    getModelMetadata: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @description A domain, for its classifier; with `:features` behind it, for its features. */
                model: components["parameters"]["Model"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The model. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ModelMetadata"];
                };
            };
            400: components["responses"]["ModelFailure"];
            401: components["responses"]["ModelFailure"];
            403: components["responses"]["ModelFailure"];
            404: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            409: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["ModelFailure"];
            503: components["responses"]["ModelUnavailable"];
        };
    };
    getModelConfig: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @description A domain, for its classifier; with `:features` behind it, for its features. */
                model: components["parameters"]["Model"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The configuration. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ModelConfig"];
                };
            };
            400: components["responses"]["ModelFailure"];
            401: components["responses"]["ModelFailure"];
            403: components["responses"]["ModelFailure"];
            404: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            409: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["ModelFailure"];
            503: components["responses"]["ModelUnavailable"];
        };
    };
    getModelStatistics: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @description A domain, for its classifier; with `:features` behind it, for its features. */
                model: components["parameters"]["Model"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Its statistics. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ModelStatistics"];
                };
            };
            400: components["responses"]["ModelFailure"];
            401: components["responses"]["ModelFailure"];
            403: components["responses"]["ModelFailure"];
            404: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            409: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["ModelFailure"];
            503: components["responses"]["ModelUnavailable"];
        };
    };
    getAllStatistics: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Their statistics. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ModelStatistics"];
                };
            };
            400: components["responses"]["ModelFailure"];
            401: components["responses"]["ModelFailure"];
            403: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["ModelFailure"];
            503: components["responses"]["ModelUnavailable"];
        };
    };
    getModelReady: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @description A domain, for its classifier; with `:features` behind it, for its features. */
                model: components["parameters"]["Model"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Ready. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        name: string;
                        /** @constant */
                        ready: true;
                    };
                };
            };
            400: components["responses"]["ModelFailure"];
            401: components["responses"]["ModelFailure"];
            403: components["responses"]["ModelFailure"];
            404: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            409: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["ModelFailure"];
            503: components["responses"]["ModelUnavailable"];
        };
    };
    inferModel: {
        parameters: {
            query?: never;
            header?: {
                /** @description Bytes of the JSON at the beginning of a body with binary data; 0 where the body is an image and nothing else. */
                "Inference-Header-Content-Length"?: components["parameters"]["InferenceHeaderLength"];
                /**
                 * @description Milliseconds from the arrival of the request's header to its answer. The service has a longest time of
                 *     its own, to which a longer one is cut. A request that takes longer is answered 504, and its images that
                 *     are not in a run yet are dropped. A request that is in a run at that moment has 50 ms more: if its answer
                 *     comes within them, it is still sent.
                 * @example 10000
                 */
                "X-Request-Timeout"?: components["parameters"]["RequestTimeout"];
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @description A domain, for its classifier; with `:features` behind it, for its features. */
                model: components["parameters"]["Model"];
            };
            cookie?: never;
        };
        requestBody: components["requestBodies"]["Inference"];
        responses: {
            /** @description One output, in the order of the images. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    "Server-Timing": components["headers"]["Server-Timing"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "model_name": "eurosat",
                     *       "model_version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                     *       "outputs": [
                     *         {
                     *           "name": "scores",
                     *           "datatype": "BYTES",
                     *           "shape": [
                     *             1,
                     *             2
                     *           ],
                     *           "data": [
                     *             "0.913200021:1:Forest",
                     *             "0.0512000024:5:Pasture"
                     *           ]
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["InferenceResponse"];
                    "application/octet-stream": unknown;
                };
            };
            400: components["responses"]["ModelFailure"];
            401: components["responses"]["ModelFailure"];
            403: components["responses"]["ModelFailure"];
            404: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            408: components["responses"]["RequestTimeout"];
            409: components["responses"]["ModelFailure"];
            413: components["responses"]["ModelFailure"];
            415: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            422: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["ModelFailure"];
            503: components["responses"]["ModelUnavailable"];
            504: components["responses"]["ModelFailure"];
        };
    };
    getModelVersionMetadata: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @description A domain, for its classifier; with `:features` behind it, for its features. */
                model: components["parameters"]["Model"];
                version: components["parameters"]["ModelVersion"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The model. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ModelMetadata"];
                };
            };
            400: components["responses"]["ModelFailure"];
            401: components["responses"]["ModelFailure"];
            403: components["responses"]["ModelFailure"];
            404: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            409: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["ModelFailure"];
            503: components["responses"]["ModelUnavailable"];
        };
    };
    getModelVersionConfig: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @description A domain, for its classifier; with `:features` behind it, for its features. */
                model: components["parameters"]["Model"];
                version: components["parameters"]["ModelVersion"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The configuration. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ModelConfig"];
                };
            };
            400: components["responses"]["ModelFailure"];
            401: components["responses"]["ModelFailure"];
            403: components["responses"]["ModelFailure"];
            404: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            409: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["ModelFailure"];
            503: components["responses"]["ModelUnavailable"];
        };
    };
    getModelVersionStatistics: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @description A domain, for its classifier; with `:features` behind it, for its features. */
                model: components["parameters"]["Model"];
                version: components["parameters"]["ModelVersion"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Its statistics. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ModelStatistics"];
                };
            };
            400: components["responses"]["ModelFailure"];
            401: components["responses"]["ModelFailure"];
            403: components["responses"]["ModelFailure"];
            404: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            409: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["ModelFailure"];
            503: components["responses"]["ModelUnavailable"];
        };
    };
    getModelVersionReady: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @description A domain, for its classifier; with `:features` behind it, for its features. */
                model: components["parameters"]["Model"];
                version: components["parameters"]["ModelVersion"];
            };
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Ready. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        name: string;
                        /** @constant */
                        ready: true;
                    };
                };
            };
            400: components["responses"]["ModelFailure"];
            401: components["responses"]["ModelFailure"];
            403: components["responses"]["ModelFailure"];
            404: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            409: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["ModelFailure"];
            503: components["responses"]["ModelUnavailable"];
        };
    };
    inferModelVersion: {
        parameters: {
            query?: never;
            header?: {
                /** @description Bytes of the JSON at the beginning of a body with binary data; 0 where the body is an image and nothing else. */
                "Inference-Header-Content-Length"?: components["parameters"]["InferenceHeaderLength"];
                /**
                 * @description Milliseconds from the arrival of the request's header to its answer. The service has a longest time of
                 *     its own, to which a longer one is cut. A request that takes longer is answered 504, and its images that
                 *     are not in a run yet are dropped. A request that is in a run at that moment has 50 ms more: if its answer
                 *     comes within them, it is still sent.
                 * @example 10000
                 */
                "X-Request-Timeout"?: components["parameters"]["RequestTimeout"];
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @description A domain, for its classifier; with `:features` behind it, for its features. */
                model: components["parameters"]["Model"];
                version: components["parameters"]["ModelVersion"];
            };
            cookie?: never;
        };
        requestBody: components["requestBodies"]["Inference"];
        responses: {
            /** @description One output, in the order of the images. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    "Server-Timing": components["headers"]["Server-Timing"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "model_name": "eurosat",
                     *       "model_version": "8a6f1b6f3a0c5d2e9b7a4c1d8e5f2a3b6c9d0e1f4a7b8c5d2e3f6a9b0c1d4e7f",
                     *       "outputs": [
                     *         {
                     *           "name": "scores",
                     *           "datatype": "BYTES",
                     *           "shape": [
                     *             1,
                     *             2
                     *           ],
                     *           "data": [
                     *             "0.913200021:1:Forest",
                     *             "0.0512000024:5:Pasture"
                     *           ]
                     *         }
                     *       ]
                     *     }
                     */
                    "application/json": components["schemas"]["InferenceResponse"];
                    "application/octet-stream": unknown;
                };
            };
            400: components["responses"]["ModelFailure"];
            401: components["responses"]["ModelFailure"];
            403: components["responses"]["ModelFailure"];
            404: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            408: components["responses"]["RequestTimeout"];
            409: components["responses"]["ModelFailure"];
            413: components["responses"]["ModelFailure"];
            415: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            422: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["ModelFailure"];
            503: components["responses"]["ModelUnavailable"];
            504: components["responses"]["ModelFailure"];
        };
    };
    listModels: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path?: never;
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "ready": true
                 *     }
                 */
                "application/json": {
                    /** @description Only models that are ready. */
                    ready?: boolean;
                };
            };
        };
        responses: {
            /** @description The models, by name. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": components["schemas"]["ModelIndex"];
                };
            };
            400: components["responses"]["ModelFailure"];
            401: components["responses"]["ModelFailure"];
            403: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            408: components["responses"]["RequestTimeout"];
            413: components["responses"]["ModelFailure"];
            415: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["ModelFailure"];
        };
    };
    loadModel: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @description A domain, for its classifier; with `:features` behind it, for its features. */
                model: components["parameters"]["Model"];
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "parameters": {
                 *         "file:pack.safetensors": "WAEAAAAAAAB7..."
                 *       }
                 *     }
                 */
                "application/json": {
                    parameters?: {
                        [key: string]: unknown;
                    };
                };
            };
        };
        responses: {
            /** @description The model is ready. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        name: string;
                        /** @constant */
                        load: true;
                    };
                };
            };
            400: components["responses"]["ModelFailure"];
            401: components["responses"]["ModelFailure"];
            403: components["responses"]["ModelFailure"];
            404: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            408: components["responses"]["RequestTimeout"];
            409: components["responses"]["ModelFailure"];
            413: components["responses"]["ModelFailure"];
            415: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            422: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["ModelFailure"];
            503: components["responses"]["ModelUnavailable"];
            507: components["responses"]["ModelFailure"];
        };
    };
    unloadModel: {
        parameters: {
            query?: never;
            header?: {
                /**
                 * @description Echoed if it is 1 to 128 letters, digits or `._-`. Otherwise the service makes a new one.
                 * @example order-4711
                 */
                "X-Request-Id"?: components["parameters"]["RequestId"];
            };
            path: {
                /** @description A domain, for its classifier; with `:features` behind it, for its features. */
                model: components["parameters"]["Model"];
            };
            cookie?: never;
        };
        requestBody?: {
            content: {
                /**
                 * @example {
                 *       "parameters": {
                 *         "unload_dependents": false
                 *       }
                 *     }
                 */
                "application/json": {
                    parameters?: {
                        [key: string]: unknown;
                    };
                };
            };
        };
        responses: {
            /** @description The model is not ready. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "application/json": {
                        name: string;
                        /** @constant */
                        unload: true;
                    };
                };
            };
            400: components["responses"]["ModelFailure"];
            401: components["responses"]["ModelFailure"];
            403: components["responses"]["ModelFailure"];
            404: components["responses"]["ModelFailure"];
            405: components["responses"]["ModelFailure"];
            408: components["responses"]["RequestTimeout"];
            409: components["responses"]["ModelFailure"];
            413: components["responses"]["ModelFailure"];
            415: components["responses"]["ModelFailure"];
            417: components["responses"]["ModelFailure"];
            422: components["responses"]["ModelFailure"];
            429: components["responses"]["ModelTooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["ModelFailure"];
            503: components["responses"]["ModelUnavailable"];
            507: components["responses"]["ModelFailure"];
        };
    };
    getMetrics: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Prometheus text format. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example # HELP facet_queue_length Images that wait for a run.
                     *     # TYPE facet_queue_length gauge
                     *     facet_queue_length 0
                     */
                    "text/plain": string;
                };
            };
            400: components["responses"]["BadRequest"];
            401: components["responses"]["Unauthorized"];
            403: components["responses"]["Forbidden"];
            405: components["responses"]["MethodNotAllowed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            500: components["responses"]["InternalError"];
        };
    };
    getLive: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Alive. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "status": "live"
                     *     }
                     */
                    "application/json": components["schemas"]["Live"];
                };
            };
            400: components["responses"]["BadRequest"];
            405: components["responses"]["MethodNotAllowed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
        };
    };
    getReady: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description Ready. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "status": "ready"
                     *     }
                     */
                    "application/json": components["schemas"]["Ready"];
                };
            };
            400: components["responses"]["BadRequest"];
            405: components["responses"]["MethodNotAllowed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
            503: components["responses"]["Unavailable"];
        };
    };
    getDocs: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description The page. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    "text/html": string;
                };
            };
            /** @description The client has it already (`If-None-Match`). */
            304: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content?: never;
            };
            400: components["responses"]["BadRequest"];
            405: components["responses"]["MethodNotAllowed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
        };
    };
    getOpenApi: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description This document. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "openapi": "3.1.0"
                     *     }
                     */
                    "application/yaml": {
                        [key: string]: unknown;
                    };
                };
            };
            400: components["responses"]["BadRequest"];
            405: components["responses"]["MethodNotAllowed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
        };
    };
    getOpenApiJson: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description This document. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "openapi": "3.1.0"
                     *     }
                     */
                    "application/json": {
                        [key: string]: unknown;
                    };
                };
            };
            400: components["responses"]["BadRequest"];
            405: components["responses"]["MethodNotAllowed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
        };
    };
    getIndex: {
        parameters: {
            query?: never;
            header?: never;
            path?: never;
            cookie?: never;
        };
        requestBody?: never;
        responses: {
            /** @description An index, or the dashboard. */
            200: {
                headers: {
                    "X-Request-Id": components["headers"]["X-Request-Id"];
                    [name: string]: unknown;
                };
                content: {
                    /**
                     * @example {
                     *       "service": "facet",
                     *       "version": "0.2.0",
                     *       "family": "resnet26-half",
                     *       "families": [
                     *         "resnet26-half"
                     *       ],
                     *       "links": {
                     *         "api": "/openapi.yaml",
                     *         "domains": "/v1/domains"
                     *       }
                     *     }
                     */
                    "application/json": components["schemas"]["Index"];
                    "text/html": string;
                };
            };
            400: components["responses"]["BadRequest"];
            405: components["responses"]["MethodNotAllowed"];
            417: components["responses"]["ExpectationFailed"];
            429: components["responses"]["TooMany"];
            431: components["responses"]["HeadersTooLarge"];
        };
    };
}
